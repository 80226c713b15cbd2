"""What a person wants holds from when they say so: no report overtakes it."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
import respx
from napari_telemetry.errors import StateError
from napari_telemetry.plugin.session import Session
from napari_telemetry.plugin.snapshot import Task
from napari_telemetry.state.consents import Consents
from napari_telemetry.state.sendings import Sendings
from napari_telemetry.telemetry import Telemetry
from napari_telemetry.wire import Level

from tests.support.client import ALLOWED, SERVER, Machine, reports_of, taking_server
from tests.support.session import SERVICE, wait_until


@pytest.mark.promise("off-in-napari")
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
    session.begin_sending(60)
    wait_until(lambda: not session.snapshot.is_busy(Task.SEND))
    is_free.set()
    wait_until(lambda: not session.snapshot.busy)
    assert not reports_of(respx_mock)
    assert not machine.store.sendings.identifiers(), "none is noted as one that a server may know"


@pytest.mark.promise("off-in-napari")
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
    session.begin_sending(60)
    wait_until(lambda: not session.snapshot.busy)
    assert not reports_of(respx_mock)
    assert session.snapshot.outcome is not None
    assert "could not be written down" in (session.snapshot.outcome.reason or "")
    machine.clock.forward(hours=1)
    if is_elsewhere:
        machine.consent(Level.MIDDLE)
        session.refresh()
        wait_until(lambda: session.snapshot.status is not None and session.snapshot.status.level is Level.MIDDLE)
    else:
        session.answer(Level.BASIC, means="test", service=SERVICE)
    session.begin_sending(60)
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
    session.begin_sending(60)
    wait_until(lambda: not session.snapshot.is_busy(Task.SEND))
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
        session.begin_sending(60)
        wait_until(lambda: not session.snapshot.busy)
    assert not reports_of(respx_mock)
    machine.clock.forward(hours=1)
    session.begin_sending(60)
    wait_until(lambda: not session.snapshot.busy)
    assert len(reports_of(respx_mock)) == 1


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


def test_an_answer_for_another_server_than_the_one_that_was_named_is_not_recorded(session: Session, machine: Machine) -> None:
    session.start()
    session.answer("full", means="test", service="https://named.example.org")
    wait_until(lambda: Task.ANSWER in session.snapshot.failures)
    assert SERVICE in session.snapshot.failures[Task.ANSWER]
    assert machine.store.consents.current() is None
