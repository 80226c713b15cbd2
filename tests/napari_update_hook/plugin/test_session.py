"""A session: snapshots that are true whoever changes what, and nothing that waits."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from msgspec.structs import replace
from napari_update_hook import collect, standing
from napari_update_hook.api import Here
from napari_update_hook.asking import Question, Why
from napari_update_hook.client import UpdateClient
from napari_update_hook.decision import ConsentRecord
from napari_update_hook.errors import SettingsError, StateBusyError, StateError
from napari_update_hook.plugin import marks, reading, tasks
from napari_update_hook.plugin import session as sessions
from napari_update_hook.plugin.session import Session
from napari_update_hook.plugin.snapshot import Snapshot, Task
from napari_update_hook.settings import read_site_rules
from napari_update_hook.state import database
from napari_update_hook.state.answers import Answers
from napari_update_hook.state.consents import Consents
from napari_update_hook.state.notices import Notices
from napari_update_hook.state.sendings import Sendings
from napari_update_hook.state.snoozes import Snooze, Snoozes
from napari_update_hook.telemetry import Telemetry
from napari_update_hook.wire import Level

from tests.support.client import ALLOWED, SERVER, UPDATES_BODY, Machine, reports_of, requests_of, taking_server

SERVICE = SERVER


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "state")


@pytest.fixture
def session(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(sessions, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 20.0)  # this test's own thread uses the files, too, and tries once
    monkeypatch.setattr(collect, "_collector_here", lambda: collect.Collector(machine.settings, machine.store, lambda: None))  # type: ignore[arg-type, return-value]
    made = Session(lambda: Here(machine.settings, machine.store, machine.client), first_check_after=3600)
    yield made
    made.stop()
    collect.stop_counting()


def answer() -> httpx.Response:
    return httpx.Response(200, content=UPDATES_BODY, headers={"content-type": "application/json"})


@pytest.fixture
def impatient(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody uses is soon given up."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(tasks, "REST_S", 0.1)


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """What another thread writes just now is not there yet."""

    def holds() -> Any:
        with contextlib.suppress(StateBusyError):
            return condition()

    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.01)


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


@pytest.fixture
def reads(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was read with, once for each reading."""
    counted: list[Any] = []
    read = session._reading.read

    def counting(before: Snapshot, known: Any) -> Any:
        counted.append(known)
        return read(before, known)

    monkeypatch.setattr(session._reading, "read", counting)
    return counted


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is read once more only because it has just changed."""
    monkeypatch.setattr(marks, "SETTLES_AFTER_S", 3600.0)


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
@pytest.mark.parametrize("busy", ["status", "rest"])
def test_what_was_busy_is_read_again_though_nothing_changes(
    session: Session, machine: Machine, monkeypatch: pytest.MonkeyPatch, busy: str
) -> None:
    machine.consent(Level.BASIC)
    machine.store.notices.want(False)
    wanted, status, tries = Notices.wanted, standing.client_status, 0

    def busy_at_first(self: Notices) -> bool:
        nonlocal tries
        tries += 1
        if busy == "rest" and tries == 1:
            raise StateBusyError("another process is using it")
        return wanted(self)

    def status_at_first(*arguments: Any, **options: Any) -> Any:
        nonlocal tries
        tries += busy == "status"
        found = status(*arguments, **options)
        return replace(found, is_busy=True) if busy == "status" and tries == 1 else found

    monkeypatch.setattr(Notices, "wanted", busy_at_first)
    monkeypatch.setattr(standing, "client_status", status_at_first)
    session.start()
    wait_until(lambda: session.snapshot.notifies is False and session.snapshot.status is not None)
    assert tries > 1


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


@pytest.fixture
def site_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where administrators put their file."""
    path = tmp_path / "etc" / "site.json"
    path.parent.mkdir()
    monkeypatch.setattr(reading, "_site_files", lambda: (path,))
    return path


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


@pytest.mark.parametrize("wish", ["snooze", "notify"])
def test_what_a_person_wants_before_a_check_holds_for_it_however_long_it_takes_to_write(
    session: Session, respx_mock: respx.MockRouter, wish: str
) -> None:
    updates = respx_mock.get(f"{SERVER}/api/updates").mock(return_value=answer())
    told: list[Any] = []
    session.on_notice(told.append)
    is_free = threading.Event()
    session.run(is_free.wait)  # as where another process uses the files
    session.snooze("affinder", "0.5.0", None) if wish == "snooze" else session.notify(False)
    session.check()
    wait_until(lambda: updates.called)
    time.sleep(0.2)
    is_free.set()
    wait_until(lambda: not session.snapshot.busy)
    assert told == []


@pytest.mark.parametrize("wish", ["snooze", "notify"])
def test_what_a_person_wants_while_a_check_asks_is_told_no_more(
    session: Session, respx_mock: respx.MockRouter, wish: str
) -> None:
    is_free = threading.Event()

    def answer_to_a_person_who_acts(_: httpx.Request) -> httpx.Response:
        session.run(is_free.wait)
        session.snooze("affinder", "0.5.0", None) if wish == "snooze" else session.notify(False)
        return answer()

    respx_mock.get(f"{SERVER}/api/updates").mock(side_effect=answer_to_a_person_who_acts)
    told: list[Any] = []
    session.on_notice(told.append)
    session.check()
    wait_until(lambda: session.snapshot.result is not None)
    time.sleep(0.1)
    is_free.set()
    wait_until(lambda: not session.snapshot.busy)
    assert told == []


def test_what_is_snoozed_as_a_check_ends_is_shown_so_at_once(
    session: Session, machine: Machine, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    respx_mock.get(f"{SERVER}/api/updates").mock(return_value=answer())
    check = UpdateClient.check

    def check_and_snooze(client: UpdateClient, **how: Any) -> Any:
        found = check(client, **how)
        machine.store.snoozes.add(Snooze("affinder", "0.5.0", None))
        return found

    monkeypatch.setattr(UpdateClient, "check", check_and_snooze)
    told: list[Any] = []
    shown: list[Snapshot] = []
    session.on_notice(told.append)
    session.subscribe(shown.append)
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert told == []
    assert {one.result.rows[0].status.value for one in shown if one.result is not None} == {"snoozed"}
    assert not session.snapshot.result.is_from_cache  # type: ignore[union-attr]


def test_an_answer_that_could_not_be_kept_is_shown_until_there_is_a_newer_one(
    session: Session, machine: Machine, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    respx_mock.get(f"{SERVER}/api/updates").mock(return_value=answer())

    def full(*_: Any) -> None:
        raise StateError("The disk is full.")

    monkeypatch.setattr(Answers, "keep", full)
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert session.snapshot.result is not None
    assert "The disk is full." in (session.snapshot.result.notice or "")
    done = threading.Event()
    session.refresh()
    session.run(done.set)
    assert done.wait(10)
    assert "The disk is full." in (session.snapshot.result.notice or "")
    monkeypatch.undo()
    machine.clock.forward(hours=1)
    machine.client.check()
    session.refresh()
    wait_until(lambda: session.snapshot.result is not None and not session.snapshot.result.notice)


def test_nothing_is_sent_by_a_check_that_a_person_asks_for_after_withdrawing(
    session: Session, machine: Machine, respx_mock: respx.MockRouter
) -> None:
    taking_server(respx_mock, SERVER)
    machine.consent(Level.BASIC)
    is_free = threading.Event()
    session.run(is_free.wait)
    session.answer(Level.NONE, means="test", service=SERVICE)
    session.check()
    wait_until(lambda: not session.snapshot.is_busy(Task.CHECK))
    is_free.set()
    wait_until(lambda: not session.snapshot.busy)
    assert ("GET", "/api/updates") in requests_of(respx_mock)
    assert not reports_of(respx_mock)


@pytest.mark.parametrize("wish", ["withdraw", "forget"])
def test_nothing_is_sent_once_a_person_has_said_no_while_a_check_asks(
    session: Session, machine: Machine, respx_mock: respx.MockRouter, wish: str
) -> None:
    taking_server(respx_mock, SERVER)
    machine.consent(Level.BASIC)
    is_free = threading.Event()

    def lists_for_a_person_who_says_no(_: httpx.Request) -> httpx.Response:
        session.run(is_free.wait)
        session.answer(Level.NONE, means="test", service=SERVICE) if wish == "withdraw" else session.forget()
        return httpx.Response(200, json=ALLOWED)

    respx_mock.get(f"{SERVER}/api/telemetry/allowed/basic").mock(side_effect=lists_for_a_person_who_says_no)
    session.check()
    wait_until(lambda: not session.snapshot.is_busy(Task.CHECK))
    is_free.set()
    wait_until(lambda: not session.snapshot.busy)
    assert ("GET", "/api/updates") in requests_of(respx_mock)
    assert not reports_of(respx_mock)
    assert not machine.store.sendings.identifiers(), "none is noted as one that a server may know"


def test_what_a_check_finds_written_in_time_goes_by_what_it_says(
    session: Session, machine: Machine, respx_mock: respx.MockRouter
) -> None:
    taking_server(respx_mock, SERVER)
    session.answer(Level.BASIC, means="test", service=SERVICE)
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert len(reports_of(respx_mock)) == 1


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_a_no_that_could_not_be_written_down_holds_until_it_is_answered_again(
    session: Session, machine: Machine, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch, is_elsewhere: bool
) -> None:
    taking_server(respx_mock, SERVER)
    machine.consent(Level.BASIC)

    def broken(*_: Any) -> None:
        raise StateError("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(Consents, "record", broken)
        session.answer(Level.NONE, means="test", service=SERVICE)
        wait_until(lambda: not session.snapshot.busy)
        assert session.snapshot.failures[Task.ANSWER] == "The disk is full."
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert not reports_of(respx_mock)
    assert session.snapshot.result is not None
    assert "could not be written down" in (session.snapshot.result.telemetry.reason or "")
    machine.clock.forward(hours=1)
    if is_elsewhere:
        machine.consent(Level.MIDDLE)
        session.refresh()
        wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.MIDDLE)
    else:
        session.answer(Level.BASIC, means="test", service=SERVICE)
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert len(reports_of(respx_mock)) == 1


def test_nothing_is_sent_once_a_person_has_said_no_while_a_report_begins(
    session: Session, machine: Machine, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking_server(respx_mock, SERVER)
    machine.consent(Level.BASIC)
    is_free = threading.Event()
    begin = Sendings.begin

    def begin_while_a_person_says_no(self: Sendings, *arguments: Any) -> int | None:
        session.run(is_free.wait)
        session.answer(Level.NONE, means="test", service=SERVICE)
        return begin(self, *arguments)

    monkeypatch.setattr(Sendings, "begin", begin_while_a_person_says_no)
    session.check()
    wait_until(lambda: not session.snapshot.is_busy(Task.CHECK))
    is_free.set()
    wait_until(lambda: not session.snapshot.busy)
    assert not reports_of(respx_mock)
    assert not session.snapshot.sent, "nor is it said that something was"


def test_a_report_of_before_a_no_does_not_go_by_a_later_yes(
    session: Session, machine: Machine, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It bears the pseudonym that was taken back with the no."""
    taking_server(respx_mock, SERVER)
    machine.consent(Level.BASIC)
    prepared = Telemetry._prepared

    def prepared_for_a_person_who_changes_their_mind(self: Telemetry, *arguments: Any) -> Any:
        made = prepared(self, *arguments)
        session.answer(Level.NONE, means="test", service=SERVICE)
        session.answer(Level.BASIC, means="test", service=SERVICE)
        return made

    with monkeypatch.context() as patched:
        patched.setattr(Telemetry, "_prepared", prepared_for_a_person_who_changes_their_mind)
        session.check()
        wait_until(lambda: not session.snapshot.busy)
    assert not reports_of(respx_mock)
    machine.clock.forward(hours=1)
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert len(reports_of(respx_mock)) == 1


def test_a_failed_answer_is_told_until_it_is_answered_and_not_only_until_the_question_is_opened(
    session: Session, machine: Machine, respx_mock: respx.MockRouter
) -> None:
    session.start()
    session.answer(Level.NONE, means="test", service="https://named.example.org")
    wait_until(lambda: Task.ANSWER in session.snapshot.failures and not session.snapshot.busy)
    session.put_question(lambda _: None, by_hand=True)
    wait_until(lambda: not session.snapshot.busy)
    assert Task.ANSWER in session.snapshot.failures
    machine.consent(Level.BASIC)
    wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.BASIC)
    assert Task.ANSWER not in session.snapshot.failures


def test_an_update_is_told_where_it_could_not_be_compared_at_once(
    session: Session, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "REST_S", 0.02)
    updates = respx_mock.get(f"{SERVER}/api/updates")
    before = httpx.Response(200, content=UPDATES_BODY.replace(b"0.5.0", b"0.1.0"), headers={"content-type": "application/json"})
    updates.mock(return_value=before)
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    told: list[Any] = []
    session.on_notice(told.append)
    updates.mock(return_value=answer())
    known, tries = UpdateClient.known, []

    def busy_at_first(self: UpdateClient) -> Any:
        tries.append(1)
        if len(tries) <= 3:
            raise StateBusyError("Another process is using it.")
        return known(self)

    monkeypatch.setattr(UpdateClient, "known", busy_at_first)
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert told == [[("affinder", "0.5.0")]]


def test_nobody_is_asked_once_napari_ends(session: Session, machine: Machine) -> None:
    is_free, done = threading.Event(), threading.Event()
    session.run(is_free.wait)
    session.put_question(lambda _: None)
    session._tasks._files.put(done.set)
    session.stop()
    is_free.set()
    assert done.wait(10)
    assert machine.store.consents.askings() == [], "it would count as put"


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


def test_an_answer_is_written_down_as_napari_ends(session: Session, machine: Machine) -> None:
    machine.consent(Level.BASIC)
    is_free = threading.Event()
    session.run(is_free.wait)
    session.answer(Level.NONE, means="test", service=SERVICE)
    threading.Timer(0.2, is_free.set).start()
    session._end()
    current = machine.store.consents.current()
    assert current is not None
    assert current.level is Level.NONE


def test_after_the_end_nothing_is_asked(session: Session, machine: Machine, respx_mock: respx.MockRouter) -> None:
    machine.consent(Level.BASIC)
    is_free, done = threading.Event(), threading.Event()
    session._tasks.on_network(Task.SERVER_COPY, is_free.wait)
    session.check()
    session._tasks.on_network(Task.SERVER_COPY, done.set)
    session._tasks._network.put(done.set)
    session.stop()
    is_free.set()
    assert done.wait(10)
    assert not respx_mock.calls


def test_a_failure_goes_as_soon_as_it_is_tried_again_and_comes_back(session: Session, machine: Machine) -> None:
    heard: list[str | None] = []
    session.subscribe(lambda snapshot: heard.append(snapshot.failures.get(Task.ANSWER)))
    for _ in range(2):
        session.answer(Level.NONE, means="test", service="https://named.example.org")
        wait_until(lambda: not session.snapshot.busy)
    told = [one is not None for one in heard]
    assert told == [False, True, False, True]


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


@pytest.mark.parametrize("last", [True, False])
def test_of_several_wishes_about_notifications_the_last_counts(session: Session, machine: Machine, last: bool) -> None:
    machine.store.notices.want(last)
    session.refresh()
    wait_until(lambda: session.snapshot.status is not None)
    is_free = threading.Event()
    session.run(is_free.wait)
    session.notify(not last)
    session.notify(last)
    is_free.set()
    wait_until(lambda: not session.snapshot.busy)
    assert machine.store.notices.wanted() is last


@pytest.mark.parametrize("what", ["snoozes", "wish"])
def test_nothing_is_told_that_is_snoozed_or_unwanted_where_that_could_not_be_read_at_once(
    session: Session, machine: Machine, respx_mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(tasks, "REST_S", 0.02)
    respx_mock.get(f"{SERVER}/api/updates").mock(return_value=answer())
    of: type
    of, name = (Snoozes, "all") if what == "snoozes" else (Notices, "wanted")
    if what == "snoozes":
        machine.store.snoozes.add(Snooze("affinder", "0.5.0", None))
    else:
        machine.store.notices.want(False)
    read, tries = getattr(of, name), []

    def busy_at_first(self: Any) -> Any:
        tries.append(1)
        if len(tries) <= 4:
            raise StateBusyError("Another process is using it.")
        return read(self)

    monkeypatch.setattr(of, name, busy_at_first)
    told: list[Any] = []
    session.on_notice(told.append)
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    assert told == []
    assert len(tries) > 4


@pytest.mark.usefixtures("impatient")
def test_what_is_shown_stays_while_another_process_uses_the_files(
    session: Session, machine: Machine, respx_mock: respx.MockRouter
) -> None:
    respx_mock.get(f"{SERVER}/api/updates").mock(return_value=answer())
    session.check()
    wait_until(lambda: not session.snapshot.busy)
    shown: list[Snapshot] = []
    session.subscribe(shown.append)
    done = threading.Event()
    with contextlib.closing(sqlite3.connect(machine.store.files[0].path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        session.refresh()
        session.run(done.set)
        assert done.wait(30)
        other.execute("ROLLBACK")
    assert session.snapshot.result is not None
    assert all(one.result is not None for one in shown)


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


def test_an_answer_for_another_server_than_the_one_that_was_named_is_not_recorded(session: Session, machine: Machine) -> None:
    session.start()
    session.answer("full", means="test", service="https://named.example.org")
    wait_until(lambda: Task.ANSWER in session.snapshot.failures)
    assert SERVICE in session.snapshot.failures[Task.ANSWER]
    assert machine.store.consents.current() is None


def test_an_answer_may_end_when_the_one_before_does(session: Session, machine: Machine) -> None:
    session.start()
    session.answer("full", lasting=timedelta(days=90), means="test", service=SERVICE)
    session.answer("basic", means="test", service=SERVICE, for_as_long_as_before=True)
    wait_until(lambda: level_recorded(machine) is Level.BASIC)
    record = machine.store.consents.current()
    assert record is not None
    assert record.until is not None
    assert abs(record.until - machine.settings.now() - timedelta(days=90)) < timedelta(hours=1)


def level_recorded(machine: Machine) -> Level | None:
    record = machine.store.consents.current()
    return record.level if record is not None else None


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


def test_a_question_that_met_a_busy_file_is_shown_all_the_same_and_counts_once(
    session: Session, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, tries = sessions._examples, 0
    shown: list[Any] = []

    def busy_at_first(here: Here) -> dict[str, str]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StateBusyError("another process is using it")
        return make(here)

    monkeypatch.setattr(sessions, "_examples", busy_at_first)
    session.put_question(shown.append)
    wait_until(lambda: shown)
    assert [question.why for question in shown] == [Why.FIRST]
    assert len(machine.store.consents.askings()) == 1
