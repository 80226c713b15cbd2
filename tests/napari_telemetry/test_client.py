"""Reports of one person, the seam file, and the Python API."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator, Iterator
from datetime import timedelta
from typing import Any

import httpx
import napari_telemetry
import pytest
import respx
from napari_telemetry.client import Forgotten, ServerCopy
from napari_telemetry.consent_rules import MAX_PROMPTS, PROMPT_INTERVAL
from napari_telemetry.database import FILE
from napari_telemetry.environment import environment_pseudonym, identifier, new_secret
from napari_telemetry.records import Counts
from napari_telemetry.sending import run
from napari_telemetry.transport import Transport
from napari_telemetry.weeks import next_week
from napari_telemetry.wire import Level
from napari_update_hook import seam
from napari_update_hook.errors import SettingsError, StateError

from tests.support import consent
from tests.support.client import (
    SERVER,
    TABLE_BODY,
    TABLE_PATH,
    WEEK,
    Machine,
    accept_batch,
    accepting_server,
    body_of,
    reports_of,
)


def run_steps(steps: Generator[Any, Any, Any]) -> Any:
    with Transport(60) as transport:
        return run(steps, transport.exchange)


class FakeServer:
    """A server that stores, finds and deletes reports."""

    def __init__(self, router: respx.MockRouter, base: str = SERVER) -> None:
        self.reports: dict[str, list[dict[str, object]]] = {}
        accepting_server(router, base)
        router.post(f"{base}/api/reports/find").mock(side_effect=self.find)
        router.post(f"{base}/api/reports/delete").mock(side_effect=self.delete)
        self.router, self.base = router, base

    def learn(self) -> None:
        """Store what was sent so far."""
        self.reports = {}
        for report in reports_of(self.router):
            self.reports.setdefault(report["identifier"], []).append(report)

    def find(self, request: httpx.Request) -> httpx.Response:
        held = self.reports.get(json.loads(body_of(request))["identifier"], [])
        return httpx.Response(200, json={"reports": [{"level": "basic", "schema_version": 1, "report": one} for one in held]})

    def delete(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"deleted": len(self.reports.pop(json.loads(body_of(request))["identifier"], []))})


@pytest.fixture
def fake_server() -> Iterator[FakeServer]:
    with respx.mock(assert_all_called=False) as router:
        yield FakeServer(router)


def forget(machine: Machine) -> Forgotten:
    result: Forgotten = run_steps(machine.client.forget())
    return result


def two_weeks(machine: Machine, fake_server: FakeServer) -> None:
    machine.consent(Level.FULL)
    machine.client.send()
    machine.clock.forward(days=7)
    machine.client.send()
    fake_server.learn()


@pytest.mark.promise("nothing-without-consent")
def test_without_consent_nothing_is_sent(machine: Machine, server: respx.MockRouter) -> None:
    result = machine.client.send()
    assert not server.calls
    assert (result.level, result.receipt) == (Level.NONE, None)
    assert not machine.folder.exists(), "and nothing is written"


def test_unreadable_state_means_no_consent(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    machine.store.close()
    (machine.folder / FILE).write_bytes(b"no database, but longer than its header would have to be" * 40)
    result = machine.client.send()
    assert not server.calls
    assert FILE in str(result.reason)
    assert "damaged" in str(machine.client.status().problem)


def test_invalid_rows_are_reported_as_damage(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.MIDDLE)
    machine.client.send()
    with machine.store._write() as file:
        file.execute("UPDATE consents SET level = 'nonsense', at = 'yesterday'")
    status = machine.client.status()
    assert status.decision.level is Level.NONE
    assert "damaged" in str(status.decision.reason)
    assert machine.client.send().receipt is None


@pytest.mark.promise("identifier-changes")
def test_identifiers_differ_by_week_service_and_account() -> None:
    one, other = new_secret(), new_secret()
    known = identifier(one, SERVER, WEEK)
    assert known == identifier(one, SERVER, WEEK)
    others = [
        identifier(one, SERVER, next_week(WEEK)),
        identifier(one, "https://b.example", WEEK),
        identifier(other, SERVER, WEEK),
    ]
    assert len({known, *others}) == 4
    assert environment_pseudonym(one, WEEK) != environment_pseudonym(one, next_week(WEEK))
    assert (len(known), len(environment_pseudonym(one, WEEK))) == (32, 8)


def test_server_copies_are_requested_one_identifier_at_a_time(machine: Machine, fake_server: FakeServer) -> None:
    two_weeks(machine, fake_server)
    copies: list[ServerCopy] = run_steps(machine.client.server_copies())
    assert [copy.asked.week for copy in copies] == ["2026-W47", "2026-W48"]
    assert [copy.reports[0].report["week"] for copy in copies] == ["2026-W47", "2026-W48"]
    asked = [body_of(call.request) for call in fake_server.router.calls if call.request.url.path == "/api/reports/find"]
    assert [sorted(json.loads(body)) for body in asked] == [["identifier"], ["identifier"]]
    assert all(call.request.url.query == b"" for call in fake_server.router.calls if "reports" in call.request.url.path)


@pytest.mark.promise("deleted-is-gone")
def test_forget_deletes_on_the_server_and_here_and_stops_sending(machine: Machine, fake_server: FakeServer) -> None:
    two_weeks(machine, fake_server)
    consent = machine.view.consent
    assert consent is not None
    machine.client.add_counts(consent.number, {"2026-W48": Counts({"a.b": 1})})
    result = forget(machine)
    assert (result.on_servers, result.requests, result.drafts, result.problems) == (2, 2, 2, [])
    assert result.weeks == [(SERVER, "2026-W47"), (SERVER, "2026-W48")]
    assert fake_server.reports == {}
    view = machine.view
    assert (view.sent, view.identifiers, view.drafts, view.counts) == ([], [], [], {})
    machine.client.add_counts(consent.number, {"2026-W48": Counts({"a.b": 1})})
    assert machine.view.counts == {}, "nothing is counted for a forgotten week"
    sent = len(reports_of(fake_server.router))
    machine.clock.forward(days=2)
    machine.client.send()
    assert len(reports_of(fake_server.router)) == sent
    machine.clock.forward(days=5)
    machine.client.send()
    assert [report["week"] for report in reports_of(fake_server.router)[sent:]] == ["2026-W49"], "later weeks are sent"


@pytest.mark.promise("deleted-is-gone")
def test_forgotten_identifiers_are_in_no_file(machine: Machine, fake_server: FakeServer) -> None:
    two_weeks(machine, fake_server)
    names = [report["identifier"].encode() for report in reports_of(fake_server.router)]
    before = (machine.folder / FILE).read_bytes()
    assert all(name in before for name in names)
    forget(machine)
    written = b"".join(path.read_bytes() for path in machine.folder.rglob("*") if path.is_file())
    assert not any(name in written for name in names)


@pytest.mark.promise("delete-after-withdrawal")
def test_forget_works_after_consent_was_withdrawn(machine: Machine, fake_server: FakeServer) -> None:
    two_weeks(machine, fake_server)
    machine.consent(Level.NONE)
    assert machine.view.secrets is None
    assert forget(machine).on_servers == 2
    assert fake_server.reports == {}


def test_forget_covers_every_environment_of_the_account(machine: Machine, fake_server: FakeServer) -> None:
    there = Machine(machine.folder, name="there", clock=machine.clock)
    for one in (machine, there):
        one.consent(Level.BASIC)
        one.client.send()
    fake_server.learn()
    result = forget(machine)
    assert (result.on_servers, result.requests) == (2, 2)
    assert there.view.sent == []
    sent = len(reports_of(fake_server.router))
    machine.clock.forward(hours=30)
    there.client.send()
    assert len(reports_of(fake_server.router)) == sent


def test_forget_covers_unsent_weeks_of_other_environments(machine: Machine, fake_server: FakeServer) -> None:
    there = Machine(machine.folder, name="there", clock=machine.clock)
    fake_server.router.get(f"{SERVER}/api/telemetry/allowed/basic").mock(side_effect=httpx.ConnectError)
    there.consent(Level.BASIC)
    there.client.send()
    machine.clock.forward(days=7)
    assert (SERVER, WEEK) in forget(machine).weeks
    accepting_server(fake_server.router, SERVER)
    machine.clock.forward(days=2)
    there.client.send()
    assert reports_of(fake_server.router) == []


def test_a_failed_deletion_is_retried(machine: Machine, fake_server: FakeServer) -> None:
    two_weeks(machine, fake_server)
    fake_server.router.post(f"{SERVER}/api/reports/delete").mock(side_effect=httpx.ConnectError)
    result = forget(machine)
    assert result.on_servers == 0
    assert len(result.problems) == 2
    assert len(machine.view.identifiers) == 2
    fake_server.router.post(f"{SERVER}/api/reports/delete").mock(side_effect=fake_server.delete)
    assert machine.client.send().deleted == 2, "by the next check"
    assert machine.view.identifiers == []


def test_a_deletion_is_repeated_if_a_report_was_in_transit(machine: Machine, fake_server: FakeServer) -> None:
    """Another process is sending: its report may arrive after the deletion."""
    other = Machine(machine.folder, clock=machine.clock)
    forgotten: list[Forgotten] = []

    def forgets(request: httpx.Request) -> httpx.Response:
        forgotten.append(forget(other))
        return accept_batch(request)

    fake_server.router.post(f"{SERVER}/api/updates/basic").mock(side_effect=forgets)
    machine.consent(Level.BASIC)
    result = machine.client.send()
    deletions = [call for call in fake_server.router.calls if call.request.url.path == "/api/reports/delete"]
    assert len(deletions) == 2, "immediately, and again after the report has arrived"
    assert "still being sent" in forgotten[0].problems[0]
    assert result.problems == ()
    assert machine.view.identifiers == []


def test_a_dead_server_does_not_block_deletion_elsewhere(machine: Machine) -> None:
    with respx.mock(assert_all_called=False) as router:
        for server in ("https://dead.example", "https://alive.example"):
            accepting_server(router, server)
            machine.level_servers = {Level.BASIC: server}
            machine.consent(Level.BASIC)
            machine.client.send()
            machine.clock.forward(days=7)
        router.post("https://dead.example/api/reports/delete").mock(side_effect=httpx.ConnectError)
        alive = router.post("https://alive.example/api/reports/delete").respond(200, json={"deleted": 1})
        result = forget(machine)
        assert alive.call_count == 1
        assert (result.on_servers, len(result.problems)) == (1, 1)


def test_deletion_goes_to_the_host_that_received_the_report(machine: Machine) -> None:
    with respx.mock(assert_all_called=False) as router:
        accepting_server(router, SERVER)
        fake_server = FakeServer(router, "https://full.example")
        machine.level_servers = {Level.FULL: "https://full.example"}
        machine.consent(Level.FULL)
        machine.client.send()
        fake_server.learn()
        machine.level_servers = {}
        assert forget(machine).on_servers == 1


def test_identifiers_are_deleted_after_60_days(machine: Machine, fake_server: FakeServer) -> None:
    two_weeks(machine, fake_server)
    machine.clock.forward(days=61)
    machine.client.send()
    assert [one.week for one in machine.view.identifiers] == ["2027-W04"]


def test_a_clock_that_was_briefly_ahead_does_not_undo_forget(machine: Machine, fake_server: FakeServer) -> None:
    two_weeks(machine, fake_server)
    forget(machine)
    sent = len(reports_of(fake_server.router))
    fake_server.router.get(f"{SERVER}/api/telemetry/allowed/full").mock(side_effect=httpx.ConnectError)
    machine.clock.forward(days=400)
    machine.client.send()
    machine.clock.forward(days=-399)
    accepting_server(fake_server.router, SERVER)
    machine.client.send()
    assert len(reports_of(fake_server.router)) == sent


# The seam file


def test_the_update_check_loads_telemetry_only_with_consent(machine: Machine, server: respx.MockRouter) -> None:
    state = machine.state
    assert not seam.may_send(state)
    machine.consent(Level.BASIC, lasting=timedelta(days=30))
    assert state.read_telemetry() == {"state": "on"}
    assert seam.may_send(state)
    machine.consent(Level.NONE)
    assert not seam.may_send(state)
    assert state.read_telemetry() == {}
    machine.consent(Level.FULL, lasting=timedelta(days=1))
    machine.clock.forward(days=2)
    assert seam.may_send(state), "once, to clean up after expired consent"
    machine.client.send()
    assert not server.calls
    assert machine.view.secrets is None
    assert not seam.may_send(state)
    assert seam.may_attach(state, machine.clock()), "napari asks again"


@pytest.mark.parametrize("ends", ["expires", "is withdrawn", "is removed", "is renewed"])
def test_a_pending_deletion_is_sent_however_consent_ends(machine: Machine, fake_server: FakeServer, ends: str) -> None:
    fake_server.router.post(f"{SERVER}/api/reports/delete").mock(side_effect=httpx.ConnectError)
    machine.consent(Level.BASIC, lasting=timedelta(days=1))
    machine.client.send()
    assert forget(machine).problems
    if ends == "is withdrawn":
        machine.consent(Level.NONE)
    elif ends == "is removed":
        seam_says = machine.state.read_telemetry()  # as the update check does
        machine.state.write_telemetry({**seam_says, "state": "ask", "after": machine.clock().isoformat()})
    elif ends == "is renewed":
        machine.consent(Level.FULL)
    machine.clock.forward(days=3)
    fake_server.router.post(f"{SERVER}/api/reports/delete").mock(side_effect=fake_server.delete)
    assert seam.may_send(machine.state)
    assert machine.client.send().problems == ()
    assert machine.view.deletions == []
    assert seam.may_send(machine.state) is (ends == "is renewed")
    assert (machine.state.read_telemetry().get("state") == "ask") is (ends in ("expires", "is removed"))


def test_after_reinstallation_no_earlier_data_is_sent(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    consent = machine.view.consent
    assert consent is not None
    machine.client.add_counts(consent.number, {WEEK: Counts({"affinder.start": 5})})
    machine.state.write_telemetry(None)  # as the update check does when the package is missing
    machine.consent(Level.FULL)
    machine.client.send()
    assert [report["command_usage"] for report in reports_of(server)] == [{}]


def test_a_prompt_for_another_server_does_not_end_consent(machine: Machine) -> None:
    machine.consent(Level.FULL)
    elsewhere = Machine(machine.folder, "https://other.example", clock=machine.clock)
    elsewhere.note_check()
    assert elsewhere.client.claim_prompt()
    assert machine.client.status().decision.level is Level.FULL


def test_consent_needs_a_writable_seam_file(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.note_check()
    monkeypatch.setattr("napari_update_hook.state.State.write_telemetry", lambda *_: None)
    with pytest.raises(StateError, match="nothing is sent"):
        machine.client.set_consent(Level.FULL, means="test")
    assert machine.client.status().decision.level is Level.NONE


def test_consent_is_impossible_if_the_server_accepts_no_reports(machine: Machine) -> None:
    assert machine.client.takes_reports() is None
    for path, body in ((TABLE_PATH, TABLE_BODY.replace(b"true", b"false")), ("/api/extended_summary", b"[]")):
        machine.note_check(path, body)
        assert machine.client.takes_reports() is False
        with pytest.raises(SettingsError, match="accepts no reports"):
            machine.client.set_consent(Level.BASIC, means="test")
        assert not machine.client.status().is_prompt_due
    machine.note_check()
    assert machine.client.takes_reports() is True
    assert machine.client.status().is_prompt_due


def test_the_seam_file_says_when_to_prompt_again(machine: Machine, fake_server: FakeServer) -> None:
    machine.note_check()
    for number in range(MAX_PROMPTS):
        assert machine.client.claim_prompt()
        assert not machine.client.claim_prompt(), "not twice in a row"
        forget(machine)  # does not affect prompts
        assert not seam.may_send(machine.state)
        machine.clock.now += PROMPT_INTERVAL
        assert seam.may_attach(machine.state, machine.clock()) is (number + 1 < MAX_PROMPTS)
    assert not machine.client.claim_prompt()


def test_an_example_creates_no_secret_and_sends_no_request(machine: Machine, server: respx.MockRouter) -> None:
    machine.note_check()
    example = json.loads(machine.client.example(Level.FULL))
    assert [plugin["name"] for plugin in example["report"]["plugins"]] == ["affinder", "napari-harpy"]
    assert example["report"]["napari_version"] == "development", "as sent: the table does not list this napari version"
    assert not server.calls
    assert not machine.store.exists
    assert example["report"]["identifier"] != json.loads(machine.client.example(Level.FULL))["report"]["identifier"]


# The Python API


def test_the_python_api_follows_consent(server: respx.MockRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_UPDATE_SERVER", SERVER)
    assert napari_telemetry.status().decision.level is Level.NONE
    napari_telemetry.send_if_due(5)
    assert not server.calls, "there is no consent"
    answer = consent.record("basic", lasting=timedelta(days=90))
    assert answer.until is not None
    assert answer.until - answer.at == timedelta(days=90)
    assert napari_telemetry.status().decision.level is Level.BASIC
    napari_telemetry.send_if_due(60)
    assert len(reports_of(server)) == 1
    assert napari_telemetry.status().view.consent == answer
    consent.record("none")
    napari_telemetry.send_if_due(60)
    assert len(reports_of(server)) == 1
    assert [record.level for record in napari_telemetry.status().view.history] == [Level.BASIC, Level.NONE]


def test_importing_the_package_loads_no_network_or_gui_modules() -> None:
    heavy = "httpx npe2 qtpy typer rich numpy sqlite3 msgspec"
    code = f"import sys, napari_telemetry; print(*[name for name in {heavy.split()!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""
