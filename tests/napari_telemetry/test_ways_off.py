"""Every opt-out stops everything that sends or counts.

Blocked hosts: test_sending.py. Uninstallation: end_to_end/test_wheels.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import respx
from napari_telemetry.client import current_client
from napari_telemetry.plugin.session import Session
from napari_telemetry.settings import Maximum, read_site_rules
from napari_telemetry.wire import Level
from napari_update_hook.settings import UNATTENDED_VARIABLES

from tests.support.client import Machine

Way = Callable[[Machine, Path], None]


def variable(name: str, value: str) -> Way:
    def switch(machine: Machine, _: Path) -> None:
        machine.environ = {name: value}

    return switch


def site(text: str) -> Way:
    def switch(machine: Machine, folder: Path) -> None:
        path = folder / "site.json"
        path.write_text(text)
        machine.site = read_site_rules([path])

    return switch


def withdraw(machine: Machine, _: Path) -> None:
    machine.consent(Level.NONE)


def preferences(machine: Machine, _: Path) -> None:
    machine.maximum = Maximum(Level.NONE, is_chosen=True)


OPT_OUTS: dict[str, tuple[Way, str]] = {
    "the answer none": (withdraw, "you chose not to share"),
    "Preferences": (preferences, ""),
    "NAPARI_TELEMETRY=0": (variable("NAPARI_TELEMETRY", "0"), "NAPARI_TELEMETRY=0"),
    **{f"NAPARI_TELEMETRY={value}": (variable("NAPARI_TELEMETRY", value), value) for value in ("false", "none", "n", "nope")},
    "NAPARI_TELEMETRY=off": (variable("NAPARI_TELEMETRY", "OFF "), "NAPARI_TELEMETRY"),
    "DO_NOT_TRACK=1": (variable("DO_NOT_TRACK", "1"), "DO_NOT_TRACK=1"),
    "DO_NOT_TRACK=true": (variable("DO_NOT_TRACK", "true"), "DO_NOT_TRACK"),
    **{f"{name}=true": (variable(name, "true"), name) for name in UNATTENDED_VARIABLES},
    "site file": (site('{"telemetry": false}'), "site.json"),
    "site file, level none": (site('{"maximum_level": "none"}'), "site.json"),
    "site file, damaged": (site("{"), "site.json"),
}


@pytest.mark.promise("off-by-variable")
@pytest.mark.parametrize("way", OPT_OUTS)
def test_opt_outs_stop_sending_and_counting(machine: Machine, server: respx.MockRouter, tmp_path: Path, way: str) -> None:
    switch, named = OPT_OUTS[way]
    machine.consent(Level.FULL)
    switch(machine, tmp_path)
    session = Session(lambda: machine.client)
    session._read()
    for day in range(3):
        session.collector.command("affinder.start")
        session._flush()
        machine.client.send()
        machine.clock.forward(days=day)
    assert not server.calls
    view = machine.view
    assert (view.drafts, view.counts, view.sent) == ([], {}, [])
    status = machine.client.status()
    assert status.decision.level is Level.NONE
    assert named in str(status.decision.reason), "status names the effective opt-out"


@pytest.mark.promise("off-by-administrator")
def test_an_administrator_can_set_the_server_and_the_highest_level(machine: Machine, tmp_path: Path) -> None:
    site('{"maximum_level": "basic", "server": "https://updates.example"}')(machine, tmp_path)
    machine.consent(Level.FULL)
    decision = machine.client.status().decision
    assert decision.level is Level.BASIC
    assert "site.json" in str(decision.reason)


def test_the_site_file_of_this_system_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from napari_telemetry import settings

    (tmp_path / "site.json").write_text(json.dumps({"telemetry": False}))
    monkeypatch.setattr(settings, "site_files", lambda _: (tmp_path / "site.json",))
    client = current_client("http://127.0.0.1:9")
    client.set_consent(Level.FULL, means="test")
    assert client.status().decision.level is Level.NONE
