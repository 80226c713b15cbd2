"""Files that another process uses, or that can't be written: nothing is lost, and busy is not empty."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import Any

import httpx
import pytest
import respx
from msgspec.structs import replace
from napari_update_hook import standing
from napari_update_hook.api import Here
from napari_update_hook.asking import Why
from napari_update_hook.client import UpdateClient
from napari_update_hook.errors import StateBusyError, StateError
from napari_update_hook.plugin import session as sessions
from napari_update_hook.plugin import tasks
from napari_update_hook.plugin.session import Session
from napari_update_hook.plugin.snapshot import Snapshot, Task
from napari_update_hook.state.answers import Answers
from napari_update_hook.state.notices import Notices
from napari_update_hook.state.snoozes import Snooze, Snoozes
from napari_update_hook.wire import Level

from tests.support.client import SERVER, UPDATES_BODY, Machine
from tests.support.session import SERVICE, answer, level_recorded, wait_until


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
