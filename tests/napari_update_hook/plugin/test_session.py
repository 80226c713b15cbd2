"""A session: snapshots that are true whoever changes what, and nothing that waits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from napari_update_hook import collect
from napari_update_hook.api import Here
from napari_update_hook.asking import Question, Why
from napari_update_hook.decision import ConsentRecord
from napari_update_hook.errors import SettingsError
from napari_update_hook.plugin import reading
from napari_update_hook.plugin.session import Session
from napari_update_hook.plugin.snapshot import Snapshot, Task
from napari_update_hook.settings import read_site_rules
from napari_update_hook.wire import Level

from tests.support.client import SERVER, Machine, taking_server
from tests.support.session import SERVICE, answer, wait_until


def test_it_says_how_everything_stands_without_a_request(session: Session, respx_mock: respx.MockRouter) -> None:
    session.start()
    wait_until(lambda: session.snapshot.status is not None)
    assert session.snapshot.status is not None
    assert session.snapshot.status.level is Level.NONE
    assert session.snapshot.result is None
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
def test_reading_makes_it_read_no_more(session: Session, machine: Machine, reads: list[Any]) -> None:
    machine.consent(Level.BASIC)
    session.start()
    wait_until(lambda: session.snapshot.status is not None)
    time.sleep(0.3)
    assert len(reads) <= 2


@pytest.mark.usefixtures("settled")
def test_behind_a_job_that_waits_for_a_file_readings_do_not_pile_up(
    session: Session, machine: Machine, reads: list[Any]
) -> None:
    session.start()
    wait_until(lambda: session.snapshot.status is not None)
    before, held = len(reads), threading.Event()
    session.run(held.wait)
    machine.consent(Level.BASIC)
    time.sleep(0.5)  # more than twenty looks
    held.set()
    wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.BASIC)
    time.sleep(0.2)
    assert len(reads) - before <= 2


@pytest.mark.usefixtures("settled")
def test_what_changes_while_files_are_read_is_read_again(
    session: Session, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.consent(Level.BASIC)
    session.start()
    wait_until(lambda: session.snapshot.status is not None)
    changes, is_first = reading.Reading._changes, True

    def while_somebody_answers(self: Any, *arguments: Any) -> Any:
        nonlocal is_first
        found = changes(self, *arguments)
        if is_first:
            is_first = False
            machine.consent(Level.MIDDLE)
        return found

    monkeypatch.setattr(reading.Reading, "_changes", while_somebody_answers)
    session.refresh()
    wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.MIDDLE)


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


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("is_usable", [True, False])
def test_an_administrators_file_that_a_check_has_seen_first_holds_before_the_check_is_over(
    session: Session,
    machine: Machine,
    site_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    respx_mock: respx.MockRouter,
    is_usable: bool,
) -> None:
    machine.consent(Level.FULL)
    held = threading.Event()

    def slow(request: httpx.Request) -> httpx.Response:
        held.wait(25)
        return answer()

    respx_mock.route().mock(side_effect=slow)
    session.start()
    wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.FULL)
    make = session._reading._make_here

    def making() -> Here:
        if not is_usable:
            raise SettingsError("no such server")
        machine.site = read_site_rules([site_file])
        return make()

    def seen_by_the_check() -> None:
        site_file.write_text('{"maximum_level": "basic"}')
        forget()

    forget = session._reading.forget_client
    monkeypatch.setattr(session._reading, "_make_here", making)
    monkeypatch.setattr(session._reading, "forget_client", seen_by_the_check)
    session.check()
    try:
        if is_usable:
            wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.BASIC)
            assert session.snapshot.is_busy(Task.CHECK)
        else:
            wait_until(lambda: session.snapshot.problem is not None)
    finally:
        held.set()
    wait_until(lambda: not session.snapshot.busy)


@pytest.mark.usefixtures("settled")
def test_settings_that_cannot_be_used_are_tried_again_when_they_change(
    session: Session, site_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, tries = session._reading._make_here, []

    def making() -> Here:
        tries.append(True)
        if not site_file.exists():
            raise SettingsError("no such server")
        return make()

    monkeypatch.setattr(session._reading, "_make_here", making)
    session.start()
    wait_until(lambda: session.snapshot.problem is not None)
    time.sleep(0.3)  # more than ten looks
    assert len(tries) <= 2
    site_file.write_text("{}")
    wait_until(lambda: session.snapshot.problem is None and session.snapshot.status is not None)


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


def test_a_client_that_was_made_anew_while_files_were_read_hides_no_later_change(
    session: Session, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, is_first = reading.Reading._changes, True

    def while_another_thread_checks(self: Any, *arguments: Any) -> Any:
        nonlocal is_first
        if is_first:
            is_first = False
            session._reading.forget_client()
        return changes(self, *arguments)

    monkeypatch.setattr(reading.Reading, "_changes", while_another_thread_checks)
    session.start()
    wait_until(lambda: session.snapshot.status is not None)
    machine.consent(Level.FULL)
    wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.FULL)


def test_a_check_tells_what_is_under_way_then_what_it_found(session: Session, respx_mock: respx.MockRouter) -> None:
    respx_mock.get(f"{SERVER}/api/updates").mock(return_value=answer())
    session.check()
    assert session.snapshot.is_busy(Task.CHECK)
    wait_until(lambda: not session.snapshot.busy)
    result = session.snapshot.result
    assert result is not None
    assert [row.name for row in result.rows if row.needs_attention] == ["affinder"]
    assert session.snapshot.failures == {}


def test_offline_is_told_and_ends(session: Session, machine: Machine, respx_mock: respx.MockRouter) -> None:
    route = respx_mock.get(f"{SERVER}/api/updates").mock(side_effect=httpx.ConnectError("no network"))
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert "reach" in session.snapshot.failures[Task.CHECK]
    route.mock(return_value=answer())
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert session.snapshot.failures == {}


def test_an_answer_waits_for_no_server(session: Session, machine: Machine, respx_mock: respx.MockRouter) -> None:
    held = threading.Event()

    def slow(request: httpx.Request) -> httpx.Response:
        held.wait(25)
        return answer()

    respx_mock.get(f"{SERVER}/api/updates").mock(side_effect=slow)
    session.check()
    session.answer("basic", means="test", service=SERVICE)
    wait_until(lambda: machine.store.consents.current() is not None)
    assert session.snapshot.is_busy(Task.CHECK)
    held.set()
    wait_until(lambda: not session.snapshot.busy)


def test_counting_begins_and_ends_with_level_full(session: Session, machine: Machine) -> None:
    session.start()
    wait_until(lambda: session.snapshot.status is not None)
    assert collect._active is None
    session.answer("full", means="test", service=SERVICE)
    wait_until(lambda: collect._active is not None)
    session.answer("middle", means="test", service=SERVICE)
    wait_until(lambda: collect._active is None)


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


def test_what_is_under_way_in_two_threads_ends(session: Session, machine: Machine, respx_mock: respx.MockRouter) -> None:
    respx_mock.get(f"{SERVER}/api/updates").mock(return_value=answer())
    for number in range(30):
        session.check()
        session.snooze("affinder", f"0.{number}", None)
        session.notify(number % 2 == 0)
    wait_until(lambda: not session.snapshot.busy)
    assert session.snapshot.failures == {}


def test_the_last_snapshot_that_is_heard_is_the_newest(session: Session, machine: Machine) -> None:
    heard: list[Snapshot] = []
    session.subscribe(heard.append)
    threads = [threading.Thread(target=session._tasks.change, kwargs={"progress": str(number)}) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard[-1] is session.snapshot


def test_updates_are_told_once(session: Session, machine: Machine, respx_mock: respx.MockRouter) -> None:
    respx_mock.get(f"{SERVER}/api/updates").mock(return_value=answer())
    told: list[list[tuple[str, str]]] = []
    session.on_notice(told.append)
    for _ in range(2):
        session.check()
        wait_until(lambda: not session.snapshot.busy)
    assert told == [[("affinder", "0.5.0")]]


def test_snoozed_updates_are_not_told_and_come_back(session: Session, machine: Machine, respx_mock: respx.MockRouter) -> None:
    respx_mock.get(f"{SERVER}/api/updates").mock(return_value=answer())
    told: list[Any] = []
    session.on_notice(told.append)
    session.snooze("affinder", "0.5.0", timedelta(days=7))
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert told == []
    assert session.snapshot.result is not None
    assert session.snapshot.result.rows[0].status.value == "snoozed"
    session.unsnooze("affinder")
    wait_until(lambda: session.snapshot.result is not None and session.snapshot.result.rows[0].status.value == "update")


@pytest.mark.usefixtures("settled")
def test_a_client_that_could_not_be_made_once_is_made_again(
    session: Session, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.start()
    wait_until(lambda: session.snapshot.status is not None)
    make, tries = session._reading._make_here, []

    def fail_once() -> Here:
        tries.append(1)
        if len(tries) == 1:
            raise FileNotFoundError("METADATA")  # pip is just replacing it
        return make()

    monkeypatch.setattr(session._reading, "_make_here", fail_once)
    session.refresh()
    wait_until(lambda: len(tries) > 1)
    machine.consent(Level.BASIC)
    wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.BASIC)


def test_the_failure_of_a_check_goes_where_another_process_was_answered(
    session: Session, machine: Machine, respx_mock: respx.MockRouter
) -> None:
    updates = respx_mock.get(f"{SERVER}/api/updates").mock(side_effect=httpx.ConnectError("no network"))
    session.start()
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert Task.CHECK in session.snapshot.failures
    updates.mock(side_effect=None, return_value=answer())
    machine.clock.forward(hours=1)
    machine.client.check()
    wait_until(lambda: session.snapshot.result is not None)
    assert Task.CHECK not in session.snapshot.failures


def test_a_client_that_was_being_made_as_settings_changed_is_not_kept(machine: Machine) -> None:
    began, go_on, made = threading.Event(), threading.Event(), []

    def make() -> Here:
        here = Here(machine.settings, machine.store, machine.client)
        made.append(here)
        if len(made) == 1:
            began.set()
            assert go_on.wait(10)
        return here

    read = reading.Reading(make)
    given: list[Here] = []
    slow = threading.Thread(target=lambda: given.append(read.client()))
    slow.start()
    assert began.wait(10)
    read.forget_client()  # as the watch does that sees another file
    go_on.set()
    slow.join(10)
    assert given == [made[1]]
    assert read.client() is made[1]


def test_what_is_sent_is_shown_and_forgotten(session: Session, machine: Machine, respx_mock: respx.MockRouter) -> None:
    taking_server(respx_mock, SERVER)
    respx_mock.post(f"{SERVER}/api/reports/find").respond(200, json={"reports": []})
    respx_mock.post(f"{SERVER}/api/reports/delete").respond(200, json={"deleted": 1})
    machine.consent(Level.BASIC)
    session.show_preview()
    wait_until(lambda: session.snapshot.preview is not None)
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert len(session.snapshot.sent) == 1
    session.ask_servers()
    wait_until(lambda: session.snapshot.copies is not None)
    session.forget()
    wait_until(lambda: session.snapshot.forgotten is not None)
    wait_until(lambda: session.snapshot.sent == ())
    assert machine.store.sendings.sent() == []


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


def test_settings_that_cannot_be_used_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_UPDATE_SERVER", "http://example.org")
    session = Session(first_check_after=3600)
    session.refresh()
    wait_until(lambda: session.snapshot.problem is not None)
    assert "not encrypted" in str(session.snapshot.problem)


def test_all_threads_are_daemons(session: Session, machine: Machine) -> None:
    session.start()
    wait_until(lambda: session.snapshot.status is not None)
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("napari-update-hook")]
    assert ours
    assert all(thread.daemon for thread in ours), "the exit waits for no other"
