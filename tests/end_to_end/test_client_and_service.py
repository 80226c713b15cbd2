"""The client with the real service process: both sides must agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari_telemetry.client import ServerCopy
from napari_telemetry.plugin.session import Session
from napari_telemetry.sending import run
from napari_telemetry.transport import Transport
from napari_telemetry.weeks import start_of
from napari_telemetry.wire import TELEMETRY_LEVELS, Level
from napari_update_hook.environment import Distribution
from napari_update_hook.errors import ServerUnreachableError

from tests.support.client import HERE, Clock, Machine
from tests.support.processes import Server, running_server
from tests.support.sample_upstream import FakeUpstream
from tests.support.waiting import wait_until

WEEK = "2026-W47"
DURING = start_of(WEEK) + timedelta(days=2)
INSTALLED = {"napari": "0.6.1", "affinder": "0.4.0", "some-plugin": "1.1.0", "my-secret-plugin": "1.0"}
PLUGINS = {name: Distribution(name, version, installer="pip", is_plugin=True) for name, version in INSTALLED.items()}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("service")
    with (
        FakeUpstream().served() as upstream,
        running_server(folder / "data", UPDATE_SERVER_UPSTREAM=upstream, UPDATE_SERVER_NOW=DURING.isoformat()) as server,
    ):
        wait_until(lambda: server.get("/health/ready").json()["index"]["origin"] == "refresh", server.log.read_text)
        yield server


@pytest.fixture
def machine(service: Server, tmp_path: Path) -> Machine:
    made = Machine(tmp_path / "state", service.url, environment=replace(HERE, distributions=PLUGINS), clock=Clock(DURING))
    made.updates.check()
    return made


def copies_of(machine: Machine) -> list[ServerCopy]:
    with Transport(10) as transport:
        return run(machine.client.server_copies(), transport.exchange)


def collect(machine: Machine) -> None:
    session = Session(lambda: machine.client)
    session._read()
    collector = session.collector
    for command in ("napari.window.file.open_files_dialog",) * 12 + ("my-secret-plugin.run",):
        collector.command(command)
    collector.layer("image", np.zeros((10, 512, 512), "uint8"))
    collector.layer("points", np.zeros((2000, 3)))
    collector.layer("shapes", [np.zeros((4, 2))])
    session._flush()
    assert collector.pop_all() == []


@pytest.mark.parametrize("level", TELEMETRY_LEVELS)
def test_service_stores_the_previewed_report_completely(machine: Machine, level: Level) -> None:
    machine.consent(level)
    if level is Level.FULL:
        collect(machine)
    with Transport(10) as transport:
        previewed = run(machine.client.preview_steps(), transport.exchange)
    assert previewed is not None
    receipt = machine.client.send().receipt
    assert receipt is not None
    assert (receipt.stored, receipt.left_out.plugins, receipt.left_out.commands) == (True, 0, 0)
    (copy,) = copies_of(machine)
    assert [stored.report for stored in copy.reports] == [json.loads(previewed.body)["report"]]
    assert copy.reports[0].level is level
    if level is Level.FULL:
        report = copy.reports[0].report
        assert report["command_usage"] == {"napari.window.file.open_files_dialog": 10}
        assert [(use["layer"], use["size_category"]) for use in report["data_size_info"]] == [
            ("image", "MEDIUM"),
            ("points", "MEDIUM"),
            ("shapes", "SMALL"),
        ]
        assert [plugin["name"] for plugin in report["plugins"]] == ["affinder", "some-plugin"]


def test_later_report_replaces_the_first_and_lower_level_removes_fields(machine: Machine) -> None:
    machine.consent(Level.FULL)
    machine.client.send()
    collect(machine)
    machine.clock.forward(hours=27)
    machine.client.send()
    machine.consent(Level.BASIC)
    machine.clock.forward(hours=27)
    machine.client.send()
    (copy,) = copies_of(machine)
    (stored,) = copy.reports
    assert (stored.level, stored.report["revision"]) == (Level.BASIC, 3)
    assert "plugins" not in stored.report


def test_lost_state_resumes_above_the_revision_that_the_service_has(machine: Machine) -> None:
    machine.consent(Level.MIDDLE)
    machine.client.send()
    with machine.store._write() as file:
        file.execute("UPDATE outbox SET revision = 4")
        file.execute("UPDATE drafts SET version = version + 1")
    machine.clock.forward(hours=27)
    machine.client.send()
    with machine.store._write() as file:
        file.execute("DELETE FROM outbox")
        file.execute("UPDATE drafts SET version = version + 1")
    machine.clock.forward(hours=27)
    refused = machine.client.send().receipt
    assert refused is not None
    assert (refused.stored, refused.revision) == (False, 5)
    machine.clock.forward(hours=27)
    accepted = machine.client.send().receipt
    assert accepted is not None
    assert (accepted.stored, accepted.revision) == (True, 6)


def test_ninth_environment_is_rejected_and_its_draft_is_kept(machine: Machine) -> None:
    shared: dict[str, Any] = {"environment": machine.environment, "clock": machine.clock}
    machines = [Machine(machine.folder, machine.server, name=f"env-{n}", **shared) for n in range(9)]
    for one in machines:
        one.consent(Level.BASIC)
    receipts = [one.client.send().receipt for one in machines]
    assert [receipt.stored for receipt in receipts if receipt] == [True] * 8 + [False]
    (kept,) = machines[-1].view.drafts
    assert kept.is_unsent
    assert "8 environments" in str(kept.rejected), "it must not block other weeks"


def test_rejected_level_ends_consent_but_not_update_checks(tmp_path: Path) -> None:
    with (
        FakeUpstream().served() as upstream,
        running_server(
            tmp_path / "data",
            UPDATE_SERVER_UPSTREAM=upstream,
            UPDATE_SERVER_NOW=DURING.isoformat(),
            UPDATE_SERVER_LEVELS="basic",
        ) as server,
    ):
        environment = replace(HERE, distributions=PLUGINS)
        machine = Machine(tmp_path / "state", server.url, environment=environment, clock=Clock(DURING))
        machine.consent(Level.FULL)
        assert "off from now on" in str(machine.client.send().reason)
        assert machine.updates.check().rows
        assert machine.client.status().decision.level is Level.NONE
        machine.consent(Level.BASIC)
        assert machine.client.send().receipt is not None
    machine.clock.forward(days=1)
    assert machine.updates.check().is_from_cache, "the service is down, so the cache is used"
    elsewhere = Machine(tmp_path / "fresh", machine.server, clock=machine.clock)
    with pytest.raises(ServerUnreachableError):
        elsewhere.updates.check()
