"""Which reports are sent, and when: with a mocked server and a simulated clock."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
import respx
from napari_telemetry.consent_rules import decide
from napari_telemetry.records import Counts, PreparedBatch
from napari_telemetry.sending import run
from napari_telemetry.settings import Maximum, SiteRules
from napari_telemetry.transport import Transport
from napari_telemetry.wire import TELEMETRY_LEVELS, Level
from napari_update_hook.environment import Distribution

from tests.support.client import (
    ALLOWED,
    HERE,
    SERVER,
    TABLE_BODY,
    WEEK,
    Machine,
    accept_batch,
    accepting_server,
    body_of,
    reports_of,
    requests_of,
)

NEXT_DAY = {"hours": 27}


def count(machine: Machine, week: str = WEEK, /, **commands: int) -> None:
    counts = Counts({name.replace("__", "."): number for name, number in commands.items()})
    consent = machine.view.consent
    assert consent is not None
    machine.client.add_counts(consent.number, {week: counts})


def preview(machine: Machine) -> PreparedBatch | None:
    with Transport(60) as transport:
        return run(machine.client.preview_steps(), transport.exchange)


def test_consent_for_one_server_sends_nothing_to_another(machine: Machine, server: respx.MockRouter) -> None:
    elsewhere = Machine(machine.folder, "https://first.example")
    elsewhere.consent(Level.FULL)
    result = machine.client.send()
    assert requests_of(server) == []
    assert "https://first.example" in str(result.reason)


@pytest.mark.promise("preview-is-what-is-sent")
@pytest.mark.parametrize("level", TELEMETRY_LEVELS)
def test_a_report_is_sent_exactly_as_previewed(machine: Machine, server: respx.MockRouter, level: Level) -> None:
    machine.consent(level)
    previewed = preview(machine)
    assert previewed is not None
    before = len(server.calls)
    result = machine.client.send()
    sending = [("GET", f"/api/telemetry/allowed/{level}"), ("POST", f"/api/updates/{level}")]
    assert requests_of(server)[before:] == sending
    request = server.calls[-1].request
    assert request.url.query == b""
    assert body_of(request) == previewed.body
    assert request.headers["content-encoding"] == "gzip"
    assert result.receipt is not None
    assert result.receipt.stored
    assert b"private-plugin" not in body_of(request)
    assert [batch.request.encode() for batch in machine.view.sent] == [previewed.body]


def test_a_preview_sends_no_report(machine: Machine, server: respx.MockRouter) -> None:
    assert preview(machine) is None
    machine.consent(Level.MIDDLE)
    first, second = preview(machine), preview(machine)
    assert first is not None
    assert first == second
    assert {method for method, _ in requests_of(server)} == {"GET"}
    assert machine.view.sent == []


def test_at_most_one_report_a_day_and_only_if_something_is_new(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    machine.client.send()
    count(machine, affinder__start=1)
    waiting = machine.client.send()
    assert "one a day" in str(waiting.reason)
    machine.clock.forward(**NEXT_DAY)
    machine.client.send()
    machine.clock.forward(**NEXT_DAY)
    machine.client.send()
    reports = reports_of(server)
    assert [report["revision"] for report in reports] == [1, 2]
    assert [report["command_usage"] for report in reports] == [{}, {"affinder.start": 1}]
    assert len({report["identifier"] for report in reports}) == 1


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422, 429, 500, 503])
def test_a_failed_report_is_kept_and_its_status_recorded(machine: Machine, server: respx.MockRouter, status: int) -> None:
    server.post("/api/updates/middle").respond(status, json={"detail": "no such thing"})
    machine.consent(Level.MIDDLE)
    result = machine.client.send()
    assert result.reason is not None
    (draft,) = machine.view.drafts
    assert draft.is_unsent
    assert (draft.rejected is not None) is (400 <= status < 500 and status != 429)
    (kept,) = machine.view.sent
    assert str(status) in kept.receipt


def test_a_rejected_week_does_not_block_other_weeks(machine: Machine, server: respx.MockRouter) -> None:
    server.post("/api/updates/basic").respond(422, json={"detail": "no"})
    machine.consent(Level.BASIC)
    machine.client.send()
    machine.clock.forward(days=7)
    machine.client.send()
    machine.clock.forward(days=2)
    machine.client.send()
    assert [report["week"] for report in reports_of(server)] == ["2026-W47", "2026-W48", "2026-W47"]


def test_retry_after_applies_even_after_a_new_consent(machine: Machine, server: respx.MockRouter) -> None:
    server.post("/api/updates/basic").respond(429, json={"detail": "slower"}, headers={"retry-after": "172800"})
    machine.consent(Level.BASIC)
    machine.client.send()
    machine.clock.forward(**NEXT_DAY)
    machine.consent(Level.MIDDLE)
    machine.client.send()
    assert len(reports_of(server)) == 1
    machine.clock.forward(days=2)
    machine.client.send()
    assert len(reports_of(server)) == 2


@pytest.mark.promise("off-by-firewall")
def test_reports_wait_while_a_level_host_is_blocked(machine: Machine) -> None:
    machine.level_servers = {Level.MIDDLE: "https://middle.example"}
    with respx.mock(assert_all_called=False) as router:
        accepting_server(router, SERVER)
        blocked = router.get("https://middle.example/api/telemetry/allowed/middle").mock(side_effect=httpx.ConnectError)
        machine.consent(Level.MIDDLE)
        for _ in range(10):
            machine.client.send()
            machine.clock.forward(days=1)
        assert blocked.called
        assert reports_of(router) == []
        assert [(draft.week, draft.is_unsent) for draft in machine.view.drafts] == [(WEEK, True), ("2026-W48", True)]
        accepting_server(router, "https://middle.example")  # the firewall was opened
        for _ in range(2):
            machine.clock.forward(days=3)
            machine.client.send()
        assert [report["week"] for report in reports_of(router)] == [WEEK, "2026-W48"]
        assert {call.request.url.host for call in router.calls if call.request.method == "POST"} == {"middle.example"}


def test_a_closed_week_is_never_sent(machine: Machine, server: respx.MockRouter) -> None:
    server.get("/api/telemetry/allowed/basic").mock(side_effect=httpx.ConnectError)
    machine.consent(Level.BASIC)
    machine.client.send()
    machine.clock.forward(days=21)
    machine.client.send()
    assert [draft.week for draft in machine.view.drafts] == ["2026-W50"]


@pytest.mark.promise("one-week-a-request")
def test_one_request_covers_one_week_and_finished_weeks_go_first(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    machine.client.send()
    count(machine, affinder__start=12)
    machine.clock.forward(days=7)
    for _ in range(3):
        machine.client.send()
        machine.clock.forward(**NEXT_DAY)
    reports = reports_of(server)
    assert [(report["week"], report["command_usage"]) for report in reports] == [
        ("2026-W47", {}),
        ("2026-W47", {"affinder.start": 10}),
        ("2026-W48", {}),
    ]
    assert reports[1]["identifier"] != reports[2]["identifier"]
    assert reports[1]["environment"] != reports[2]["environment"]


def test_an_older_week_is_reduced_to_the_effective_level(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    count(machine, affinder__start=1)
    machine.clock.forward(days=7)
    machine.consent(Level.BASIC)
    machine.client.send()
    assert [path for method, path in requests_of(server) if method == "POST"] == ["/api/updates/basic"]
    (report,) = reports_of(server)
    assert report["week"] == "2026-W47"
    assert "plugins" not in report
    machine.clock.forward(days=1, hours=3)
    machine.consent(Level.FULL)
    machine.client.send()
    assert [report.get("command_usage") for report in reports_of(server)] == [None, {}], "removed data does not come back"


def test_a_higher_level_adds_nothing_to_a_finished_week(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.BASIC)
    server.get("/api/telemetry/allowed/basic").mock(side_effect=httpx.ConnectError)
    machine.client.send()
    server.get("/api/telemetry/allowed/basic").respond(200, json=ALLOWED)
    machine.clock.forward(days=7)
    machine.consent(Level.FULL)
    machine.client.send()
    assert [path for method, path in requests_of(server) if method == "POST"] == ["/api/updates/basic"]


@pytest.mark.promise("nothing-from-before")
def test_nothing_from_before_a_consent_is_ever_sent(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    count(machine, affinder__start=5)
    machine.consent(Level.NONE)
    machine.clock.forward(days=1)
    machine.consent(Level.FULL)
    machine.client.send()
    assert [report["command_usage"] for report in reports_of(server)] == [{}]


def test_a_retired_schema_keeps_the_draft_and_advises_updating(machine: Machine, server: respx.MockRouter) -> None:
    problem = {"type": "https://updates.example/problems/schema-retired", "detail": "no"}
    server.post("/api/updates/basic").respond(422, json=problem)
    machine.consent(Level.BASIC)
    assert "Update napari-telemetry" in str(machine.client.send().reason)
    assert machine.view.drafts[0].is_unsent


def test_a_first_report_stays_first_for_the_whole_week(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    machine.client.send()
    count(machine, affinder__start=1)
    machine.clock.forward(**NEXT_DAY)
    machine.client.send()
    machine.clock.forward(days=7)
    machine.client.send()
    assert [(report["week"], report["first_report"]) for report in reports_of(server)] == [
        ("2026-W47", True),
        ("2026-W47", True),
        ("2026-W48", False),
    ]


def test_a_silent_level_host_ends_in_a_timeout(machine: Machine, server: respx.MockRouter) -> None:
    """A firewall that drops packets: telemetry uses only its own share of the deadline."""

    is_over = threading.Event()

    def hang(_: httpx.Request) -> httpx.Response:
        is_over.wait(60)
        raise httpx.ReadTimeout("dropped")

    server.get("/api/telemetry/allowed/middle").mock(side_effect=hang)
    machine.deadline = 4
    machine.consent(Level.MIDDLE)
    try:
        result = machine.client.send()
    finally:
        is_over.set()
    assert "in time" in str(result.reason)


def test_without_the_public_lists_nothing_is_sent(machine: Machine, server: respx.MockRouter) -> None:
    server.get("/api/telemetry/allowed/middle").mock(side_effect=httpx.ConnectError)
    machine.consent(Level.MIDDLE)
    machine.client.send()
    assert reports_of(server) == []
    server.get("/api/telemetry/allowed/middle").respond(200, json=ALLOWED)
    machine.clock.forward(hours=2)
    machine.client.send()
    assert len(reports_of(server)) == 1


def test_concurrent_clients_send_one_report(machine: Machine, server: respx.MockRouter) -> None:
    from concurrent.futures import ThreadPoolExecutor

    machine.consent(Level.BASIC)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: machine.client.send(), range(8)))
    assert len(reports_of(server)) == 1


def test_a_changed_environment_is_reported(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.MIDDLE)
    machine.client.send()
    newer = {**HERE.distributions, "affinder": Distribution("affinder", "0.5.0", installer="pip", is_plugin=True)}
    machine.environment = replace(HERE, distributions=newer)
    machine.clock.forward(**NEXT_DAY)
    machine.client.send()
    versions = [[plugin["version"] for plugin in report["plugins"]] for report in reports_of(server)]
    assert versions == [["0.4.0"], ["0.5.0"]]


@pytest.mark.parametrize("days", [-400, -8, -1, 0])
def test_a_clock_set_back_sends_no_revision_twice(machine: Machine, server: respx.MockRouter, days: int) -> None:
    machine.consent(Level.BASIC)
    machine.client.send()
    machine.clock.forward(days=days)
    machine.client.send()
    machine.clock.forward(days=-days)
    machine.client.send()
    sent = [(report["week"], report["revision"]) for report in reports_of(server)]
    assert len(sent) == len(set(sent))
    assert sent[0] == (WEEK, 1)


def test_answering_again_does_not_send_twice_a_day(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    count(machine, "2026-W46", affinder__start=1)
    machine.client.send()
    for level in (Level.MIDDLE, Level.BASIC, Level.FULL):
        machine.consent(level)
        machine.client.send()
    assert len(reports_of(server)) == 1


def test_a_410_from_anything_but_the_service_does_not_end_consent(machine: Machine, server: respx.MockRouter) -> None:
    server.post("/api/updates/full").respond(410, html="<h1>Gone</h1>")
    machine.consent(Level.FULL)
    machine.client.send()
    assert machine.client.status().decision.level is Level.FULL


def test_data_above_the_administrators_maximum_is_deleted(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    count(machine, affinder__start=1)
    machine.site = SiteRules(maximum_level=Level.BASIC, sources=("site.json",))
    server.get("/api/telemetry/allowed/basic").mock(side_effect=httpx.ConnectError)
    machine.client.send()
    (draft,) = machine.view.drafts
    assert (draft.level, draft.info.plugins) == (Level.BASIC, {})
    assert machine.view.counts.get(WEEK, Counts()) == Counts()


def test_a_lost_state_file_ends_consent(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    machine.client.send()
    before = len(server.calls)
    assert machine.store.path is not None
    machine.store.path.unlink()
    machine.client.send()
    assert len(server.calls) == before
    machine.consent(Level.FULL)
    assert machine.client.send().receipt is not None


def test_lowering_the_level_replaces_the_report_of_this_week(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    machine.client.send()
    machine.consent(Level.BASIC)
    machine.clock.forward(**NEXT_DAY)
    machine.client.send()
    first, second = reports_of(server)
    assert (first["week"], first["identifier"], first["environment"]) == (
        second["week"],
        second["identifier"],
        second["environment"],
    )
    assert second["revision"] > first["revision"]
    assert "plugins" not in second


def test_a_level_switched_off_by_the_server_ends_consent(machine: Machine, server: respx.MockRouter) -> None:
    server.post("/api/updates/full").respond(
        410,
        content=b'{"detail": "This server does not take the level full any more."}',
        headers={"content-type": "application/problem+json"},
    )
    machine.consent(Level.FULL)
    count(machine, affinder__start=5)
    assert "off from now on" in str(machine.client.send().reason)
    assert machine.client.status().decision.level is Level.NONE
    assert machine.view.secrets is None
    assert machine.view.drafts == []
    assert machine.view.counts.get(WEEK, Counts()) == Counts()
    assert "does not accept the level full" in machine.view.history[-1].means
    assert "does not accept" in str(machine.client.status().decision.reason)


@pytest.mark.promise("every-text-is-public")
def test_only_plugins_in_the_public_table_are_reported(machine: Machine, server: respx.MockRouter) -> None:
    """A server could list a package to find out who has it."""
    secret = Distribution("acme-secret", "1.0", installer="pip", is_plugin=True)
    machine.environment = replace(HERE, distributions={**HERE.distributions, "acme-secret": secret})
    wanted = {**ALLOWED["plugins"], "acme-secret": ["1.0"], "numpy": ["2.0.0"]}
    commands = {**ALLOWED["commands"], "acme-secret": ["acme-secret.run"], "affinder": ["affinder.start", "acme-secret.go"]}
    server.get("/api/telemetry/allowed/full").respond(200, json=ALLOWED | {"plugins": wanted, "commands": commands})
    machine.consent(Level.FULL)
    count(machine, WEEK, **{"affinder__start": 1, "acme-secret__run": 1, "acme-secret__go": 1})
    machine.client.send()
    (report,) = reports_of(server)
    assert [plugin["name"] for plugin in report["plugins"]] == ["affinder"]
    assert list(report["command_usage"]) == ["affinder.start"]


def test_a_listed_package_that_is_not_a_plugin_is_not_reported(machine: Machine, server: respx.MockRouter) -> None:
    body = TABLE_BODY.replace(b'"packages": {', b'"packages": {"numpy": {"releases": [{"version": "2.0.0"}]}, ')
    machine.note_check(body=body)
    server.get("/api/telemetry/allowed/middle").respond(200, json=ALLOWED | {"plugins": {"numpy": ["2.0.0"]}})
    machine.consent(Level.MIDDLE)
    machine.client.send()
    assert reports_of(server)[0]["plugins"] == [], "it is not a plugin"


def test_a_report_takes_five_transactions_and_none_without_consent(machine: Machine, server: respx.MockRouter) -> None:
    machine.client.send()
    assert not machine.store.exists, "the file is not even created"
    machine.consent(Level.FULL)
    count(machine, affinder__start=1)
    statements: list[str] = []
    with machine.store._read() as file:
        file.set_trace_callback(statements.append)
    assert machine.client.send().receipt is not None
    machine.client.status()
    begun = [statement for statement in statements if statement.startswith("BEGIN")]
    assert len(begun) == 5, "prepare, begin sending, store the receipt, read pending deletions, read the status"


def test_a_lower_maximum_in_the_preferences_lowers_consent(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL, lasting=timedelta(days=90))
    machine.maximum = Maximum(Level.BASIC, is_chosen=True)
    machine.client.send()
    assert "plugins" not in reports_of(server)[0]
    consent = machine.view.consent
    assert consent is not None
    assert (consent.level, consent.means) == (Level.BASIC, "napari Preferences")
    assert consent.until == machine.view.history[0].until, "the expiry date is kept"
    machine.maximum = Maximum()  # "Restore defaults"
    machine.clock.forward(**NEXT_DAY)
    machine.client.send()
    assert machine.client.status().decision.level is Level.BASIC, "raising it restores nothing"
    machine.maximum = Maximum(Level.NONE)  # briefly unreadable
    machine.clock.forward(**NEXT_DAY)
    machine.client.send()
    assert len(machine.view.history) == 2, "unreadable Preferences are not an answer"
    assert "cannot be read" in str(machine.client.status().decision.reason)
    machine.maximum = Maximum(Level.NONE, is_chosen=True)
    machine.client.send()
    assert machine.view.consent is not None
    assert machine.view.consent.level is Level.NONE


def test_a_refusal_deletes_a_report_in_transit(machine: Machine, server: respx.MockRouter) -> None:
    """Another process withdraws consent; the report may arrive afterwards."""
    other = Machine(machine.folder, clock=machine.clock)
    deleted = server.post("/api/reports/delete").respond(200, json={"deleted": 1})

    def says_no(request: httpx.Request) -> httpx.Response:
        other.consent(Level.NONE)
        assert other.state.read_telemetry() == {"deleting": True}, "the update check loads telemetry to delete"
        return accept_batch(request)

    server.post("/api/updates/basic").mock(side_effect=says_no)
    machine.consent(Level.BASIC)
    machine.client.send()
    assert deleted.call_count == 1
    (kept,) = machine.view.sent
    assert kept.state == "answered", "the sent report is in the record"
    assert machine.state.read_telemetry() == {}


def test_a_pending_deletion_is_sent_without_consent(machine: Machine, server: respx.MockRouter) -> None:
    route = server.post("/api/reports/delete").mock(side_effect=httpx.ConnectError)
    machine.consent(Level.BASIC)
    machine.client.send()
    machine.consent(Level.NONE)
    with Transport(60) as transport:
        assert run(machine.client.forget(), transport.exchange).problems
    machine.clock.forward(days=3)
    route.mock(side_effect=None, return_value=httpx.Response(200, json={"deleted": 1}))
    assert machine.client.send().deleted == 1
    assert machine.view.deletions == []
    assert machine.view.identifiers == []


def test_a_report_deleted_for_another_environment_is_sent_again(machine: Machine, server: respx.MockRouter) -> None:
    """A deletion covers an identifier, which the environments of an account share."""
    there = Machine(machine.folder, name="there", clock=machine.clock)
    server.post("/api/reports/delete").respond(200, json={"deleted": 2})
    there.consent(Level.BASIC)
    there.client.send()

    def says_no(request: httpx.Request) -> httpx.Response:
        machine.consent(Level.NONE)
        return accept_batch(request)

    server.post("/api/updates/middle").mock(side_effect=says_no)
    machine.consent(Level.MIDDLE)
    machine.client.send()
    machine.clock.forward(**NEXT_DAY)
    there.client.send()
    assert [report["revision"] for report in reports_of(server)] == [1, 1, 2]


def test_removing_the_package_ends_consent(machine: Machine, server: respx.MockRouter) -> None:
    """napari-update-hook deletes the seam file when the package is missing."""
    machine.consent(Level.FULL)
    machine.state.write_telemetry(None)
    result = machine.client.send()
    assert requests_of(server) == []
    assert "was removed" in str(result.reason)
    status = machine.client.status()
    assert status.prompt is not None
    assert decide(status.view.consent, machine.settings, machine.clock.now, is_installed=True).level is Level.FULL


def test_a_draft_dated_in_the_future_is_dropped(machine: Machine, server: respx.MockRouter) -> None:
    server.get("/api/telemetry/allowed/basic").mock(side_effect=httpx.ConnectError)
    machine.consent(Level.BASIC)
    machine.clock.forward(days=365 * 70)
    machine.client.send()
    machine.clock.forward(days=-365 * 70)
    machine.client.send()
    assert [draft.week for draft in machine.view.drafts] == [WEEK]
