"""The one-time message about usage reports."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from napari_update_hook import cli, offer, settings
from napari_update_hook.cli import offering
from napari_update_hook.errors import InstallError, StateError
from napari_update_hook.installers import InstallEnvironment
from napari_update_hook.plugin.session import Session
from napari_update_hook.settings import UNATTENDED_VARIABLES
from napari_update_hook.state import CheckState

from tests.support.hook import NOON, PYPI, VENV, Machine, environment, table
from tests.support.waiting import wait_until
from tests.support.wheels import ToolEnvironment, WheelIndex, make_wheel

SERVER = "https://updates.example"
HERE = environment(napari="0.6.1", napari_update_hook="0.1.0")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine without telemetry. The project owns the name, and the server accepts reports."""
    monkeypatch.setattr(offer, "OWNS_PACKAGE_NAME", True)
    monkeypatch.setattr(offer, "is_installed", lambda: False)
    monkeypatch.setattr(settings, "site_files", lambda _: (tmp_path / "site.json",))
    made = Machine(tmp_path / "state", SERVER, HERE)
    note_check(made, takes_reports=True)
    return made


def note_check(machine: Machine, path: str = PYPI, **more: Any) -> None:
    machine.state.write_check(CheckState({f"{SERVER}{path}": (NOON, json.dumps(table({"napari": "0.6.1"}) | more))}))


def test_the_offer_is_not_shown_after_it_was_declined(machine: Machine) -> None:
    assert offer.should_offer(machine.client)
    offer.decline(machine.state)
    assert not offer.should_offer(machine.client)


def test_no_offer_if_the_server_accepts_no_reports(machine: Machine) -> None:
    note_check(machine)
    assert not offer.should_offer(machine.client)
    note_check(machine, "/api/extended_summary")
    assert not offer.should_offer(machine.client)
    machine.state.write_check(CheckState())
    assert not offer.should_offer(machine.client), "not before the first check"


@pytest.mark.parametrize("name", ["NAPARI_TELEMETRY", "DO_NOT_TRACK", *UNATTENDED_VARIABLES])
def test_no_offer_after_an_opt_out_or_in_unattended_sessions(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    client = machine.client
    client.settings = replace(client.settings, environ={name: "0" if name == "NAPARI_TELEMETRY" else "1"})
    assert not offer.should_offer(client)


@pytest.mark.parametrize("said", ['{"telemetry": true}', '{"telemetry": false}', '{"maximum_level": "basic"}', "{", "[]"])
def test_no_offer_if_an_administrator_has_decided(machine: Machine, tmp_path: Path, said: str) -> None:
    (tmp_path / "site.json").write_text('{"server": "https://updates.example"}')
    assert offer.should_offer(machine.client), "naming a server is not a decision"
    (tmp_path / "site.json").write_text(said)
    assert not offer.should_offer(machine.client)


def test_no_offer_before_the_project_owns_the_package_name(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offer, "OWNS_PACKAGE_NAME", False)
    assert not offer.should_offer(machine.client)
    assert offer.how_to_install(VENV, HERE).reason == offer.NOT_YET


@pytest.mark.parametrize(
    ("place", "installer", "said"),
    [
        (VENV, "pip", "python -m pip install napari-telemetry=="),
        (replace(VENV, markers=frozenset({"uv"})), "uv", "uv pip install"),
        (replace(VENV, markers=frozenset({"conda"})), "conda", f"napari-telemetry=={offer.VERSION}"),
        (replace(VENV, markers=frozenset({"bundle"})), "pip", None),
    ],
)
def test_the_environments_own_tool_installs_exactly_the_named_version(
    machine: Machine, place: InstallEnvironment, installer: str, said: str | None
) -> None:
    own = replace(HERE.distributions["napari-update-hook"], installer=installer)
    how = offer.how_to_install(place, replace(HERE, distributions={"napari-update-hook": own}))
    if said is None:
        assert how.reason is not None
    else:
        assert said in str(how.commands[0])
        assert offer.VERSION in str(how.commands[0])


@pytest.mark.parametrize("tool", ["pip", "uv"])
@pytest.mark.skipif(find_spec("uv") is None, reason="needs uv: pip install uv")
def test_telemetry_can_be_installed_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    monkeypatch.setattr(offer, "OWNS_PACKAGE_NAME", True)
    for version in (offer.VERSION, "9.9"):
        make_wheel(tmp_path / "wheels", "napari-telemetry", version)
    make_wheel(tmp_path / "wheels", "napari-update-hook", offer.VERSION)
    index = WheelIndex(tmp_path / "wheels")
    made = ToolEnvironment(tmp_path / "venv", index.url, tool)
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    try:
        made.install("napari-update-hook")
        offer.run(offer.how_to_install(made.install_environment, made.read()))
        assert made.versions["napari-telemetry"] == offer.VERSION, "exactly this version, not the newest"
        offer.run(offer.how_to_uninstall(made.install_environment, made.read()))
        assert "napari-telemetry" not in made.versions
        monkeypatch.setattr(offer, "VERSION", "77")
        with pytest.raises(InstallError, match="napari-telemetry"):
            offer.run(offer.how_to_install(made.install_environment, made.read()))
    finally:
        index.close()


def test_a_session_shows_the_offer_and_reports_the_installation(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(lambda: machine.client, first_check_after=3600)
    session.start()
    wait_until(lambda: session.snapshot.offers_telemetry)
    assert session.claim_offer()
    assert not session.claim_offer()
    wait_until(lambda: machine.state.was_offered())
    ran: list[Any] = []
    monkeypatch.setattr(offer, "run", ran.append)
    done: list[int] = []
    session.install_telemetry(lambda: done.append(1))
    wait_until(lambda: done)
    assert offer.VERSION in str(ran[0].commands[0])

    def fails(_: object) -> None:
        raise InstallError("pip could not reach its package index.")

    monkeypatch.setattr(offer, "run", fails)
    session.install_telemetry(lambda: done.append(2))
    wait_until(lambda: session.snapshot.task is not None and "could not reach" in session.snapshot.task.outcome)
    assert done == [1]
    session.stop()


def test_the_offer_is_not_repeated_if_the_disk_is_full(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise StateError("The disk is full.")

    monkeypatch.setattr("napari_update_hook.state.State.record_offer", full)
    session = Session(lambda: machine.client, first_check_after=3600)
    shown: list[bool] = []
    session.subscribe(lambda snapshot: shown.append(session.claim_offer()) if snapshot.offers_telemetry else None)
    session.start()
    wait_until(lambda: session.snapshot.failure is not None)
    session.refresh()
    session.stop()
    assert shown.count(True) == 1


@pytest.mark.parametrize("answer", ["y", "n"])
def test_the_terminal_command_explains_asks_and_installs(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(offering, "current_client", lambda: machine.client)
    monkeypatch.setattr(offering, "is_interactive", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: answer == "y")
    monkeypatch.setattr(offer, "run", ran.append)

    def started(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(argv)
        return subprocess.CompletedProcess(argv, 0)

    monkeypatch.setattr("subprocess.run", started)
    monkeypatch.setattr(sys, "argv", ["napari-updates", "telemetry"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    told = capsys.readouterr().out
    for paragraph in (*offer.EXPLANATION, offer.DOWNLOAD_NOTICE):
        assert paragraph.split(".")[0] in " ".join(told.split())
    if answer == "y":
        assert ran[1][1:] == ["-m", "napari_telemetry", "consent", "ask"], "the new package asks"
    else:
        assert ran == []
        assert not offer.should_offer(machine.client)


def test_telemetry_is_hidden_from_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["napari-updates", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "telemetry" not in capsys.readouterr().out
