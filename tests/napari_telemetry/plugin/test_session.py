"""A session: snapshots that are true whoever changes what, and nothing that waits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import respx
from napari_telemetry.api import Here
from napari_telemetry.asking import Question, Why
from napari_telemetry.decision import ConsentRecord
from napari_telemetry.plugin.session import Session
from napari_telemetry.plugin.snapshot import Snapshot, Task
from napari_telemetry.settings import read_site_rules
from napari_telemetry.wire import Level

from tests.support.client import SERVER, Machine, taken, taking_server
from tests.support.session import SERVICE, level_recorded, wait_until


def test_it_says_how_everything_stands_without_a_request(session: Session, respx_mock: respx.MockRouter) -> None:
    session.start()
    wait_until(lambda: session.snapshot.status is not None)
    assert session.snapshot.status is not None
    assert session.snapshot.status.level is Level.NONE
    assert not respx_mock.calls


def test_it_follows_what_another_process_writes(session: Session, machine: Machine) -> None:
    heard: list[Snapshot] = []
    session.subscribe(heard.append)
    session.start()
    wait_until(lambda: heard)
    machine.consent(Level.MIDDLE)
    wait_until(lambda: heard[-1].status is not None and heard[-1].status.level is Level.MIDDLE)
    machine.consent(Level.NONE)
    wait_until(lambda: heard[-1].status is not None and heard[-1].status.level is Level.NONE)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("is_making", [False, True])
def test_an_administrators_file_holds_at_once(
    session: Session, machine: Machine, site_file: Path, monkeypatch: pytest.MonkeyPatch, is_making: bool
) -> None:
    """Also one that is moved there with an older time, and while the client is made."""
    machine.consent(Level.FULL)
    make, made = session._reading._make_here, []

    def moved() -> None:
        prepared = site_file.with_name("prepared")
        prepared.write_text('{"maximum_level": "basic"}')
        os.utime(prepared, (1_600_000_000, 1_600_000_000))
        prepared.rename(site_file)

    def making() -> Here:
        made.append(True)
        machine.site = read_site_rules([site_file])
        here = make()
        if is_making and len(made) == 1:
            moved()
        return here

    monkeypatch.setattr(session._reading, "_make_here", making)
    session.start()
    if not is_making:
        wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.FULL)
        moved()
    wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.BASIC)
    site_file.unlink()
    wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.FULL)


def test_watching_ends_no_lock_that_a_writer_of_this_process_holds(session: Session, machine: Machine) -> None:
    machine.consent(Level.BASIC)
    session.start()
    wait_until(lambda: session.snapshot.status is not None)
    other = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute('BEGIN IMMEDIATE')"
    with machine.store.files[0].change():
        time.sleep(0.2)  # ten looks
        attempt = subprocess.run(
            [sys.executable, "-c", other, str(machine.store.files[0].path)], capture_output=True, text=True, check=False
        )
    assert "database is locked" in attempt.stderr


def test_an_answer_waits_for_no_server(session: Session, machine: Machine, respx_mock: respx.MockRouter) -> None:
    held = threading.Event()

    def slow(request: httpx.Request) -> httpx.Response:
        held.wait(25)
        return taken(request)

    taking_server(respx_mock, SERVER)
    respx_mock.post(f"{SERVER}/api/updates/middle").mock(side_effect=slow)
    machine.consent(Level.MIDDLE)
    session.begin_sending(60)
    session.answer("basic", means="test", service=SERVICE)
    wait_until(lambda: level_recorded(machine) is Level.BASIC)
    assert session.snapshot.is_busy(Task.SEND)
    held.set()
    wait_until(lambda: not session.snapshot.busy)


def test_the_question_is_written_down_before_it_is_shown_and_one_process_shows_it(session: Session, machine: Machine) -> None:
    shown: list[int] = []
    session.put_question(lambda _: shown.append(len(machine.store.consents.askings())))
    wait_until(lambda: shown)
    assert shown == [1]
    assert set(session.snapshot.examples) == {"basic", "middle", "full"}
    session.put_question(lambda _: shown.append(-1))
    session.put_question(lambda _: shown.append(0), by_hand=True)
    wait_until(lambda: len(shown) == 2)
    assert shown == [1, 0], "another process has just put it; a person may always ask for it"


def test_also_the_third_asking_says_what_has_changed(session: Session, machine: Machine) -> None:
    """A person who is asked because more is collected must see what: the last time as well as the first."""
    machine.store.consents.record(ConsentRecord(machine.clock(), Level.BASIC, 0, SERVER, None, "test"))
    asked: list[Question | None] = []
    for number in range(3):
        machine.clock.forward(days=31)
        session.put_question(asked.append)
        wait_until(lambda: len(asked) > number)  # noqa: B023 - it is waited for in this very round
    assert [question.why if question else None for question in asked] == [Why.GROWN] * 3
    assert all(question is not None and question.changes for question in asked)


def test_a_job_that_fails_says_why_and_the_next_one_runs(session: Session, machine: Machine) -> None:
    machine.folder.mkdir(parents=True)
    (machine.folder / "environments").write_text("in the way")
    session.answer("basic", means="test", service=SERVICE)
    wait_until(lambda: Task.ANSWER in session.snapshot.failures)
    assert "Cannot use" in session.snapshot.failures[Task.ANSWER]
    (machine.folder / "environments").unlink()
    session.answer("basic", means="test", service=SERVICE)
    wait_until(lambda: not session.snapshot.failures and not session.snapshot.busy)
    assert machine.store.consents.current() is not None
