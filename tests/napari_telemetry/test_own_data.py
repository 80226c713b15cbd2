"""A person and their own reports: pseudonyms, the server's copy, forgetting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
import respx
from napari_telemetry.facts import facts_of
from napari_telemetry.own_data import forget, own_ids, server_copy
from napari_telemetry.state.drafts import Counts
from napari_telemetry.wire import Level

from tests.support.client import HERE, SERVER, WEEK, Machine, body_of, reports_of, taking_server


class Holding:
    """What a server holds, by identifier; it takes, finds and deletes."""

    def __init__(self, router: respx.MockRouter, base: str = SERVER) -> None:
        self.reports: dict[str, list[dict[str, object]]] = {}
        taking_server(router, base)
        router.post(f"{base}/api/reports/find").mock(side_effect=self.find)
        router.post(f"{base}/api/reports/delete").mock(side_effect=self.delete)
        self.router, self.base = router, base

    def learn(self) -> None:
        """Hold what was sent so far."""
        self.reports = {}
        for report in reports_of(self.router):
            self.reports.setdefault(report["identifier"], []).append(report)

    def find(self, request: httpx.Request) -> httpx.Response:
        held = self.reports.get(json.loads(body_of(request))["identifier"], [])
        return httpx.Response(200, json={"reports": [{"level": "basic", "schema_version": 1, "report": one} for one in held]})

    def delete(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"deleted": len(self.reports.pop(json.loads(body_of(request))["identifier"], []))})


@pytest.fixture
def holding() -> Iterator[Holding]:
    with respx.mock(assert_all_called=False) as router:
        yield Holding(router)


def two_weeks(machine: Machine, holding: Holding) -> None:
    machine.consent(Level.FULL)
    machine.client.send()
    machine.clock.forward(days=7)
    machine.client.send()
    holding.learn()


def test_the_servers_copy_is_asked_for_one_identifier_a_request(machine: Machine, holding: Holding) -> None:
    two_weeks(machine, holding)
    copies = server_copy(machine.settings, machine.store, 5)
    assert [copy.asked.week for copy in copies] == ["2026-W47", "2026-W48"]
    assert [copy.reports[0].report["week"] for copy in copies] == ["2026-W47", "2026-W48"]
    asked = [body_of(call.request) for call in holding.router.calls if call.request.url.path == "/api/reports/find"]
    assert [sorted(json.loads(body)) for body in asked] == [["identifier"], ["identifier"]]
    assert all(call.request.url.query == b"" for call in holding.router.calls if "reports" in call.request.url.path)


@pytest.mark.promise("deleted-is-gone")
def test_forgetting_deletes_on_the_server_and_here_and_sends_nothing_more(machine: Machine, holding: Holding) -> None:
    two_weeks(machine, holding)
    store = machine.store
    store.drafts.add(SERVER, store.drafts.epoch(), facts_of(HERE, Level.FULL), {"2026-W48": Counts({"a.b": 1})})
    done = forget(machine.settings, store, 5)
    assert (done.on_servers, done.requests, done.weeks, done.problems) == ({SERVER: 2}, 2, 2, [])
    assert done.stopped == {SERVER: ["2026-W47", "2026-W48"]}
    assert holding.reports == {}
    assert store.sendings.sent() == []
    assert store.sendings.identifiers() == []
    assert store.drafts.all() == []
    assert store.drafts.counts("2026-W48") == Counts()
    sent = len(reports_of(holding.router))
    machine.clock.forward(days=2)
    machine.client.send()
    assert len(reports_of(holding.router)) == sent
    machine.clock.forward(days=5)
    machine.client.send()
    assert [report["week"] for report in reports_of(holding.router)[sent:]] == ["2026-W49"], "later weeks follow consent"


@pytest.mark.promise("deleted-is-gone")
def test_what_is_forgotten_is_in_no_file_any_more(machine: Machine, holding: Holding) -> None:
    two_weeks(machine, holding)
    names = [report["identifier"].encode() for report in reports_of(holding.router)]
    before = b"".join(path.read_bytes() for path in machine.folder.rglob("*.sqlite3"))
    assert all(name in before for name in names)
    forget(machine.settings, machine.store, 5)
    own, account = machine.store.files
    assert not any(name in own.path.read_bytes() + account.path.read_bytes() for name in names)


@pytest.mark.promise("delete-after-withdrawal")
def test_forgetting_works_after_consent_was_withdrawn(machine: Machine, holding: Holding) -> None:
    two_weeks(machine, holding)
    machine.consent(Level.NONE)
    assert machine.store.consents.secrets() is None
    assert forget(machine.settings, machine.store, 5).on_servers == {SERVER: 2}
    assert holding.reports == {}


def test_every_environment_of_the_account_forgets(machine: Machine, holding: Holding) -> None:
    other = Machine(machine.folder, name="there", clock=machine.clock)
    for one in (machine, other):
        one.consent(Level.BASIC)
        one.client.send()
    holding.learn()
    done = forget(machine.settings, machine.store, 5)
    assert (done.on_servers, done.requests) == ({SERVER: 2}, 2)
    assert other.store.sendings.sent() == []
    sent = len(reports_of(holding.router))
    machine.clock.forward(hours=30)
    other.client.send()
    assert len(reports_of(holding.router)) == sent


def test_what_a_server_could_not_delete_is_remembered_for_another_try(machine: Machine, holding: Holding) -> None:
    two_weeks(machine, holding)
    holding.router.post(f"{SERVER}/api/reports/delete").mock(side_effect=httpx.ConnectError)
    done = forget(machine.settings, machine.store, 5)
    assert done.on_servers == {}
    assert len(done.problems) == 2
    assert len(machine.store.sendings.identifiers()) == 2
    holding.router.post(f"{SERVER}/api/reports/delete").mock(side_effect=holding.delete)
    assert forget(machine.settings, machine.store, 5).on_servers == {SERVER: 2}


def test_forgetting_waits_for_what_is_on_its_way(machine: Machine, holding: Holding) -> None:
    """Another process is sending: its report must not arrive after the deletion."""
    two_weeks(machine, holding)
    from napari_telemetry.state import SentBatch

    machine.clock.forward(days=7)
    store = machine.store
    batch = SentBatch(machine.clock.now, SERVER, SERVER, "2026-W49", Level.FULL, "{}")
    assert store.sendings.begin(batch, "f" * 32, "other process", store.drafts.epoch()) is not None
    waited = []

    def arrives(seconds: float) -> None:
        waited.append(seconds)
        holding.reports["f" * 32] = [{"week": "2026-W49"}]
        store.sendings.end("other process")

    assert forget(machine.settings, store, 5, sleep=arrives).on_servers == {SERVER: 3}
    assert len(waited) == 1
    assert holding.reports == {}


def test_a_sender_that_was_killed_is_not_waited_for(machine: Machine, holding: Holding) -> None:
    from napari_telemetry.state import SentBatch

    machine.consent(Level.FULL)
    batch = SentBatch(machine.clock.now, SERVER, SERVER, WEEK, Level.FULL, "{}")
    machine.store.sendings.begin(batch, "f" * 32, "killed", machine.store.drafts.epoch())
    machine.clock.forward(minutes=1)

    def never(_: float) -> None:
        raise AssertionError("it waited")

    assert forget(machine.settings, machine.store, 5, sleep=never).on_servers == {SERVER: 0}


def test_the_host_that_took_a_report_is_asked_also_when_the_settings_changed(machine: Machine) -> None:
    with respx.mock(assert_all_called=False) as router:
        taking_server(router, SERVER)
        holding = Holding(router, "https://full.example")
        machine.level_servers = {Level.FULL: "https://full.example"}
        machine.consent(Level.FULL)
        machine.client.send()
        holding.learn()
        machine.level_servers = {}
        assert forget(machine.settings, machine.store, 5).on_servers == {"https://full.example": 1}


def test_after_60_days_nothing_is_left_to_forget(machine: Machine, holding: Holding) -> None:
    two_weeks(machine, holding)
    machine.clock.now += timedelta(days=61)
    machine.consent(Level.NONE)
    machine.client.send()
    assert own_ids(machine.settings, machine.store).sent == []
    assert machine.store.sendings.sent() == []


def test_a_week_that_waits_in_another_environment_is_forgotten_too(machine: Machine, holding: Holding) -> None:
    other = Machine(machine.folder, name="there", clock=machine.clock)
    holding.router.get(f"{SERVER}/api/telemetry/allowed/basic").mock(side_effect=httpx.ConnectError)
    other.consent(Level.BASIC)
    other.client.send()
    machine.clock.forward(days=7)
    done = forget(machine.settings, machine.store, 5)
    assert WEEK in done.stopped[SERVER]
    taking_server(holding.router, SERVER)
    machine.clock.forward(days=2)
    other.client.send()
    assert reports_of(holding.router) == []


def test_a_clock_that_was_ahead_for_a_day_does_not_undo_it(machine: Machine, holding: Holding) -> None:
    two_weeks(machine, holding)
    forget(machine.settings, machine.store, 5)
    sent = len(reports_of(holding.router))
    machine.clock.forward(days=400)
    machine.client.telemetry.tidy()
    machine.clock.forward(days=-399)
    machine.client.send()
    assert len(reports_of(holding.router)) == sent
