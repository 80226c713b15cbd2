"""Sessions without napari: snapshots stay current, and a refusal never waits for a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import respx
from napari_telemetry import client as clients
from napari_telemetry.consent_rules import ConsentRecord, PromptReason
from napari_telemetry.plugin.session import Session, Snapshot
from napari_telemetry.records import Counts
from napari_telemetry.wire import Level
from napari_update_hook.plugin import worker

from tests.support.client import ALLOWED, SERVER, WEEK, Machine, accept_batch, accepting_server, reports_of
from tests.support.waiting import wait_until


@pytest.fixture
def session(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(worker, "POLL_INTERVAL_S", 0.02)
    made = Session(lambda: machine.client)
    yield made
    made.stop()


def level(session: Session) -> Level | None:
    status = session.snapshot.status
    return status.decision.level if status is not None else None


def test_the_status_is_known_without_a_request(session: Session, respx_mock: respx.MockRouter) -> None:
    session.start()
    wait_until(lambda: level(session) is Level.NONE)
    assert not respx_mock.calls


def test_changes_by_another_process_are_noticed(session: Session, machine: Machine) -> None:
    other = Machine(machine.folder, clock=machine.clock)
    heard: list[Snapshot] = []
    session.subscribe(heard.append)
    session.start()
    wait_until(lambda: heard)
    other.consent(Level.MIDDLE)
    wait_until(lambda: level(session) is Level.MIDDLE)
    other.consent(Level.NONE)
    wait_until(lambda: level(session) is Level.NONE)
    assert heard[-1].status is not None
    assert heard[-1].status.decision.level is Level.NONE


def test_expired_consent_is_noticed_without_a_file_change(
    session: Session, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    monkeypatch.setattr(worker, "REREAD_INTERVAL_S", 0.05)
    machine.consent(Level.FULL, lasting=timedelta(days=1))
    session.start()
    wait_until(lambda: level(session) is Level.FULL)
    machine.clock.forward(days=2)
    wait_until(lambda: level(session) is Level.NONE)
    assert session.collector.consent is None, "counting has stopped"


@pytest.mark.promise("off-in-napari")
@pytest.mark.parametrize("wish", ["withdraw", "forget"])
def test_withdrawing_and_deleting_do_not_wait_for_a_server(
    session: Session, machine: Machine, respx_mock: respx.MockRouter, wish: str
) -> None:
    accepting_server(respx_mock, SERVER)
    respx_mock.post(f"{SERVER}/api/reports/delete").respond(200, json={"deleted": 0})
    asked, is_free = threading.Event(), threading.Event()

    def lists_that_take_long(_: httpx.Request) -> httpx.Response:
        asked.set()
        is_free.wait(60)
        return httpx.Response(200, json=ALLOWED)

    respx_mock.get(f"{SERVER}/api/telemetry/allowed/basic").mock(side_effect=lists_that_take_long)
    machine.consent(Level.BASIC)
    session.start()
    checking = threading.Thread(target=session.send, args=(60,))
    checking.start()
    assert asked.wait(60)
    if wish == "withdraw":
        session.answer("none", means="test", service=SERVER)
        wait_until(lambda: machine.view.history[-1].level is Level.NONE)
    else:
        session.forget()
        wait_until(lambda: machine.view.forgotten == [WEEK])
    is_free.set()
    checking.join(60)
    assert not reports_of(respx_mock)
    assert machine.view.sent == []


@pytest.mark.promise("off-in-napari")
def test_a_refusal_deletes_a_report_in_transit(session: Session, machine: Machine, respx_mock: respx.MockRouter) -> None:
    accepting_server(respx_mock, SERVER)
    deletion = respx_mock.post(f"{SERVER}/api/reports/delete").respond(200, json={"deleted": 1})
    leaving, is_free = threading.Event(), threading.Event()

    def takes_long(request: httpx.Request) -> httpx.Response:
        leaving.set()
        is_free.wait(60)
        return accept_batch(request)

    respx_mock.post(f"{SERVER}/api/updates/basic").mock(side_effect=takes_long)
    machine.consent(Level.BASIC)
    session.start()
    checking = threading.Thread(target=session.send, args=(60,))
    checking.start()
    assert leaving.wait(60)
    session.answer("none", means="test", service=SERVER)
    wait_until(lambda: len(machine.view.deletions) == 1)
    is_free.set()
    checking.join(60)
    wait_until(lambda: machine.view.deletions == [])
    assert deletion.call_count == 1


def test_an_unsaved_refusal_is_reported_and_nothing_is_sent(
    session: Session, machine: Machine, respx_mock: respx.MockRouter
) -> None:
    """Recording a refusal and sending a report both write the file."""
    accepting_server(respx_mock, SERVER)
    machine.consent(Level.BASIC)
    with machine.store._read() as file:
        file.execute("PRAGMA query_only = ON")
    session.start()
    session.answer("none", means="test", service=SERVER)
    wait_until(lambda: "answer" in session.snapshot.failures)
    assert "Cannot use" in session.snapshot.failures["answer"]
    session.send(60)
    assert not reports_of(respx_mock)
    with machine.store._read() as file:
        file.execute("PRAGMA query_only = OFF")
    session.answer("none", means="test", service=SERVER)
    wait_until(lambda: "answer" not in session.snapshot.failures and level(session) is Level.NONE)
    assert machine.view.history[-1].level is Level.NONE


def test_an_answer_for_another_server_is_not_recorded(session: Session, machine: Machine) -> None:
    session.start()
    session.answer("full", means="test", service="https://named.example.org")
    wait_until(lambda: "answer" in session.snapshot.failures)
    assert SERVER in session.snapshot.failures["answer"]
    assert not machine.store.exists


def test_stop_saves_a_pending_answer_and_the_last_counts(session: Session, machine: Machine) -> None:
    machine.consent(Level.FULL)
    session.start()
    wait_until(lambda: session.collector.consent is not None)
    session.collector.command("affinder.start")
    session.stop()
    assert machine.view.counts[WEEK].commands == {"affinder.start": 1}
    again = Session(lambda: machine.client)
    again.start()
    again.answer("none", means="test", service=SERVER)
    again.stop()
    assert machine.view.history[-1].level is Level.NONE


def test_counts_are_kept_until_they_can_be_saved(session: Session, machine: Machine) -> None:
    machine.consent(Level.FULL)
    session._read()
    session.collector.command("affinder.start")
    with machine.store._read() as file:
        file.execute("PRAGMA query_only = ON")
    session._flush()
    with machine.store._read() as file:
        file.execute("PRAGMA query_only = OFF")
    session._flush()
    session._flush()
    assert machine.view.counts[WEEK] == Counts({"affinder.start": 1}), "and counted once"


def test_the_preview_is_what_is_sent(session: Session, machine: Machine, respx_mock: respx.MockRouter) -> None:
    import json

    accepting_server(respx_mock, SERVER)
    machine.consent(Level.MIDDLE)
    session.start()
    session.fetch_preview()
    wait_until(lambda: session.snapshot.preview is not None)
    session.send(60)
    (report,) = reports_of(respx_mock)
    assert json.loads(str(session.snapshot.preview))["report"] == report
    assert [one.state for one in machine.view.sent] == ["answered"]


def test_the_dialog_opens_once_and_whenever_requested(session: Session, machine: Machine) -> None:
    machine.note_check()
    session.start()
    shown: list[int] = []
    session.prepare_dialog(lambda: shown.append(len(machine.view.prompts)), requested=False)
    wait_until(lambda: shown)
    assert shown == [1]
    assert set(session.snapshot.examples) == {"basic", "middle", "full"}
    session.prepare_dialog(lambda: shown.append(-1), requested=False)
    session.prepare_dialog(lambda: shown.append(0), requested=True)
    wait_until(lambda: len(shown) == 2)
    assert shown == [1, 0]


def test_every_prompt_lists_the_changes(session: Session, machine: Machine) -> None:
    machine.note_check()
    machine.store.record(ConsentRecord(machine.clock(), Level.BASIC, 0, SERVER, None, "test"))
    for _ in range(3):
        machine.clock.forward(days=31)
        status = machine.client.status()
        assert status.is_prompt_due
        assert status.prompt is not None
        assert status.prompt.reason is PromptReason.GROWN
        assert status.prompt.changes
        assert machine.client.claim_prompt()
    machine.clock.forward(days=31)
    assert not machine.client.status().is_prompt_due


def test_invalid_settings_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAPARI_UPDATE_SERVER", "nonsense")
    session = Session(clients.current_client)
    session.start()
    try:
        wait_until(lambda: session.snapshot.problem is not None)
        assert "nonsense" in str(session.snapshot.problem)
    finally:
        session.stop()
