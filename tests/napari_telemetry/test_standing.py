"""`status`: in force and why, what waits, what is wrong and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import respx
from napari_telemetry.asking import Why
from napari_telemetry.standing import ClientStatus, client_status
from napari_telemetry.wire import Level

from tests.support.client import WEEK, Machine


def status_of(machine: Machine) -> ClientStatus:
    return client_status(machine.settings, machine.store, machine.client.telemetry)


def test_on_a_new_machine_nothing_is_there_and_nothing_is_made(machine: Machine) -> None:
    status = status_of(machine)
    assert (status.level, status.consent, status.sent, status.weeks, status.problems) == (Level.NONE, None, 0, [], [])
    assert status.question is not None
    assert status.question.why is Why.FIRST
    assert [file.exists for file in status.files] == [False, False]
    assert not machine.folder.exists()


def test_what_waits_was_refused_or_failed_is_told(machine: Machine, server: respx.MockRouter) -> None:
    server.post("/api/updates/middle").respond(422, json={"detail": "this week is odd"})
    machine.consent(Level.MIDDLE)
    machine.client.send()
    status = status_of(machine)
    (week,) = status.weeks
    assert (week.week, week.level, week.is_unsent) == (WEEK, Level.MIDDLE, True)
    assert "this week is odd" in str(week.refused)
    assert status.pause is not None
    assert status.pause.failures == 1
    assert status.question is None
    json.dumps(msgspec.to_builtins(status, str_keys=True))


def test_a_damaged_page_is_found_too(machine: Machine, server: respx.MockRouter) -> None:
    """A file whose header is fine: only a check of its pages tells."""
    machine.consent(Level.MIDDLE)
    machine.client.send()
    path: Path = machine.folder / "environments" / "here.sqlite3"
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 3] = b"\xff" * 8192
    path.write_bytes(bytes(content))
    assert any("here.sqlite3" in problem for problem in status_of(machine).problems)


def test_bytes_that_flipped_are_told_as_damage_and_end_nothing(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.MIDDLE)
    machine.client.send()
    own, _ = machine.store.files
    with own.change() as connection:
        connection.execute("UPDATE consent SET level = 'nonsense', at = 'yesterday'")
        connection.execute("UPDATE drafts SET facts = x'ff'")
    status = status_of(machine)
    assert status.level is Level.NONE
    assert "damaged" in str(status.reason)
    assert machine.client.send().receipt is None
