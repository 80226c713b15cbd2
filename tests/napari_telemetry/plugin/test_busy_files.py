"""Files that another process uses, or that can't be written: nothing is lost, and busy is not empty."""

from __future__ import annotations

import sqlite3
import time

import pytest
from napari_telemetry.plugin.session import Session
from napari_telemetry.plugin.snapshot import Task
from napari_telemetry.wire import Level

from tests.support.client import Machine
from tests.support.session import SERVICE, level_recorded, wait_until


@pytest.mark.usefixtures("impatient")
def test_an_answer_is_not_lost_while_another_process_uses_the_files(session: Session, machine: Machine) -> None:
    session.answer("basic", means="test", service=SERVICE)
    wait_until(lambda: level_recorded(machine) is Level.BASIC)
    other = sqlite3.connect(machine.store.files[0].path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    session.answer("full", means="test", service=SERVICE)
    time.sleep(0.7)  # longer than a state file is waited for
    assert session.snapshot.is_busy(Task.ANSWER)
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: level_recorded(machine) is Level.FULL)
    assert Task.ANSWER not in session.snapshot.failures


@pytest.mark.usefixtures("impatient")
def test_what_could_not_be_read_is_not_shown_and_is_read_again(session: Session, machine: Machine) -> None:
    machine.client.set_consent(Level.MIDDLE, means="test")
    session.start()
    wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.MIDDLE)
    other = sqlite3.connect(machine.store.files[0].path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    seen: list[Level] = []
    session.subscribe(lambda snapshot: seen.append(snapshot.status.level) if snapshot.status else None)
    session.refresh()
    time.sleep(0.7)
    other.execute("UPDATE consent SET level = 'basic'")
    other.execute("COMMIT")
    other.close()
    wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.BASIC)
    assert Level.NONE not in seen
