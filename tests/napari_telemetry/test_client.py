"""The client of telemetry: what leaves, and how the update check learns whether to load it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
import respx
from napari_telemetry.wire import Level
from napari_update_hook.state import CheckState

from tests.support.client import SERVER, TABLE_BODY, TABLE_PATH, Machine


@pytest.mark.promise("nothing-without-consent")
def test_without_consent_nothing_goes_out(machine: Machine, server: respx.MockRouter) -> None:
    outcome = machine.client.send()
    assert not server.calls
    assert (outcome.level, outcome.receipt) == (Level.NONE, None)
    assert not machine.folder.exists(), "and nothing is written"


def test_state_that_cannot_be_read_is_no_consent(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    path = machine.folder / "environments" / "here.sqlite3"
    path.write_bytes(b"no database, but longer than its header would have to be" * 40)
    outcome = machine.client.send()
    assert not server.calls
    assert "here.sqlite3" in str(outcome.reason)


def note_check(machine: Machine, path: str = TABLE_PATH, body: str = TABLE_BODY.decode()) -> None:
    """Leave behind what an update check does."""
    machine.client.hook_state.write_check(CheckState({f"{SERVER}{path}": (machine.clock(), body)}))


def test_an_example_before_anyone_agreed_makes_no_secret_and_asks_no_one(machine: Machine, server: respx.MockRouter) -> None:
    note_check(machine)
    example = json.loads(machine.client.example(Level.FULL))
    assert [plugin["name"] for plugin in example["report"]["plugins"]] == ["affinder", "napari-harpy"]
    assert not server.calls
    assert machine.store.consents.secrets() is None
    assert example["report"]["identifier"] != json.loads(machine.client.example(Level.FULL))["report"]["identifier"]


def test_whether_a_server_takes_reports_is_known_from_the_check(machine: Machine) -> None:
    assert machine.client.takes_reports() is None
    note_check(machine, "/api/extended_summary", "[]")
    assert machine.client.takes_reports() is False
    note_check(machine)
    assert machine.client.takes_reports() is True


def test_the_update_check_loads_this_package_only_while_there_is_consent(machine: Machine, server: respx.MockRouter) -> None:
    state = machine.client.hook_state
    assert state.read_telemetry() == {}
    machine.consent(Level.BASIC, lasting=timedelta(days=30))
    assert state.read_telemetry() == {"state": "on", "until": (machine.clock() + timedelta(days=30)).isoformat()}
    machine.consent(Level.NONE)
    assert state.read_telemetry() == {}
    machine.consent(Level.FULL, lasting=timedelta(days=1))
    machine.clock.forward(days=2)
    machine.client.send()
    assert state.read_telemetry() == {}, "an expired consent is noticed"
