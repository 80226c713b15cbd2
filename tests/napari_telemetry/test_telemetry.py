"""Which report leaves, when, and what becomes of it: against a recorded server, with a clock that the test moves."""

from __future__ import annotations

import threading

import httpx
import msgspec
import pytest
import respx
from napari_telemetry.environment import Distribution
from napari_telemetry.facts import facts_of
from napari_telemetry.state.drafts import Counts
from napari_telemetry.wire import TELEMETRY_LEVELS, Level

from tests.support.client import (
    ALLOWED,
    HERE,
    SERVER,
    WEEK,
    Machine,
    body_of,
    reports_of,
    requests_of,
    taking_server,
)

NEXT_DAY = {"hours": 27}


def count(machine: Machine, week: str = WEEK, **commands: int) -> None:
    """Add counted commands, as a collector does."""
    store = machine.store
    counts = Counts({name.replace("__", "."): number for name, number in commands.items()})
    assert store.drafts.add(machine.settings.service, store.drafts.epoch(), facts_of(HERE, Level.FULL), {week: counts})


def test_consent_for_one_server_sends_nothing_to_another(machine: Machine, server: respx.MockRouter) -> None:
    elsewhere = Machine(machine.folder, "https://first.example")
    elsewhere.consent(Level.FULL)
    result = machine.client.send()
    assert requests_of(server) == []
    assert "https://first.example" in str(result.reason)


@pytest.mark.promise("preview-is-what-is-sent")
@pytest.mark.parametrize("level", TELEMETRY_LEVELS)
def test_with_consent_the_report_goes_with_the_check_exactly_as_previewed(
    machine: Machine, server: respx.MockRouter, level: Level
) -> None:
    machine.consent(level)
    previewed = machine.client.preview()
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
    assert [batch.request.encode() for batch in machine.store.sendings.sent()] == [previewed.body]


def test_preview_sends_nothing_and_changes_nothing(machine: Machine, server: respx.MockRouter) -> None:
    assert machine.client.preview() is None
    machine.consent(Level.MIDDLE)
    first, second = machine.client.preview(), machine.client.preview()
    assert first is not None
    assert first == second
    assert {method for method, _ in requests_of(server)} == {"GET"}
    assert machine.store.drafts.all() == []


def test_one_report_a_day_at_most_and_only_if_something_is_new(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    machine.client.send()
    count(machine, affinder__start=1)
    waiting = machine.client.send()
    assert "one a day" in str(waiting.reason)
    assert not waiting.is_restricted
    machine.clock.forward(**NEXT_DAY)
    machine.client.send()
    machine.clock.forward(**NEXT_DAY)
    machine.client.send()
    reports = reports_of(server)
    assert [report["revision"] for report in reports] == [1, 2]
    assert [report["command_usage"] for report in reports] == [{}, {"affinder.start": 1}]
    assert len({report["identifier"] for report in reports}) == 1


@pytest.mark.parametrize("status", [400, 404, 413, 415, 422, 429, 500, 503])
def test_updates_never_depend_on_telemetry_and_nothing_is_dropped_silently(
    machine: Machine, server: respx.MockRouter, status: int
) -> None:
    server.post("/api/updates/middle").respond(status, json={"detail": "no such thing"})
    machine.consent(Level.MIDDLE)
    result = machine.client.send()
    assert result.is_restricted
    (draft,) = machine.store.drafts.all()
    assert draft.is_unsent
    assert (draft.refused is not None) is (400 <= status < 500 and status != 429)
    (kept,) = machine.store.sendings.sent()
    assert str(status) in kept.receipt


def test_a_refused_week_holds_up_no_other(machine: Machine, server: respx.MockRouter) -> None:
    server.post("/api/updates/basic").respond(422, json={"detail": "no"})
    machine.consent(Level.BASIC)
    machine.client.send()
    machine.clock.forward(days=7)
    machine.client.send()
    machine.clock.forward(days=2)
    machine.client.send()
    assert [report["week"] for report in reports_of(server)] == ["2026-W47", "2026-W48", "2026-W47"]


def test_a_pause_that_the_server_asks_for_is_kept_also_by_a_new_consent(machine: Machine, server: respx.MockRouter) -> None:
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
def test_a_blocked_level_host_leaves_the_check_alone_and_the_week_waits_until_it_closes(machine: Machine) -> None:
    machine.level_servers = {Level.MIDDLE: "https://middle.example"}
    with respx.mock(assert_all_called=False) as router:
        taking_server(router, SERVER)
        blocked = router.get("https://middle.example/api/telemetry/allowed/middle").mock(side_effect=httpx.ConnectError)
        machine.consent(Level.MIDDLE)
        for _ in range(10):
            machine.client.send()
            machine.clock.forward(days=1)
        assert blocked.called
        assert reports_of(router) == []
        assert [(draft.week, draft.is_unsent) for draft in machine.store.drafts.all()] == [(WEEK, True), ("2026-W48", True)]
        taking_server(router, "https://middle.example")  # the firewall was opened
        for _ in range(2):
            machine.clock.forward(days=3)
            machine.client.send()
        assert [report["week"] for report in reports_of(router)] == [WEEK, "2026-W48"]
        assert {call.request.url.host for call in router.calls if call.request.method == "POST"} == {"middle.example"}


def test_a_week_that_closed_is_never_sent(machine: Machine, server: respx.MockRouter) -> None:
    server.get("/api/telemetry/allowed/basic").mock(side_effect=httpx.ConnectError)
    machine.consent(Level.BASIC)
    machine.client.send()
    machine.clock.forward(days=21)
    machine.client.send()
    assert [draft.week for draft in machine.store.drafts.all()] == ["2026-W50"]


@pytest.mark.promise("one-week-a-request")
def test_one_request_tells_of_one_week_and_the_one_that_is_over_goes_first(machine: Machine, server: respx.MockRouter) -> None:
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


def test_an_older_week_is_cut_to_the_level_in_force(machine: Machine, server: respx.MockRouter) -> None:
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
    assert [report.get("command_usage") for report in reports_of(server)] == [None, {}], "what was cut is gone"


def test_a_higher_level_adds_nothing_to_a_week_that_is_over(machine: Machine, server: respx.MockRouter) -> None:
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


def test_a_schema_that_a_server_retired_is_kept_and_the_person_told_to_update(
    machine: Machine, server: respx.MockRouter
) -> None:
    problem = {"type": "https://updates.example/problems/schema-retired", "detail": "no"}
    server.post("/api/updates/basic").respond(422, json=problem)
    machine.consent(Level.BASIC)
    assert "update napari-telemetry" in str(machine.client.send().reason)
    assert machine.store.drafts.all()[0].is_unsent


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


def test_a_level_host_that_swallows_everything_leaves_the_check_its_time(machine: Machine, server: respx.MockRouter) -> None:
    """A firewall that drops silently: telemetry uses up its half of the time, and the check has its own."""

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


def test_without_the_public_lists_nothing_is_sent_and_cached_ones_do(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.MIDDLE)
    machine.client.send()
    server.get("/api/telemetry/allowed/middle").mock(side_effect=httpx.ConnectError)
    machine.clock.forward(days=7)
    machine.client.send()
    assert len(reports_of(server)) == 2


def test_several_processes_that_start_together_send_one_report(machine: Machine, server: respx.MockRouter) -> None:
    from concurrent.futures import ThreadPoolExecutor

    machine.consent(Level.BASIC)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: machine.client.send(), range(8)))
    assert len(reports_of(server)) == 1


def test_a_changed_environment_is_a_changed_report(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.MIDDLE)
    machine.client.send()
    newer = {**HERE.distributions, "affinder": Distribution("affinder", "0.5.0", installer="pip")}
    machine.environment = msgspec.structs.replace(HERE, distributions=newer)
    machine.clock.forward(**NEXT_DAY)
    machine.client.send()
    versions = [[plugin["version"] for plugin in report["plugins"]] for report in reports_of(server)]
    assert versions == [["0.4.0"], ["0.5.0"]]


@pytest.mark.parametrize("days", [-400, -8, -1, 0])
def test_a_clock_that_jumps_back_sends_no_week_twice_and_loses_none(
    machine: Machine, server: respx.MockRouter, days: int
) -> None:
    machine.consent(Level.BASIC)
    machine.client.send()
    machine.clock.forward(days=days)
    machine.client.send()
    machine.clock.forward(days=-days)
    machine.client.send()
    sent = [(report["week"], report["revision"]) for report in reports_of(server)]
    assert len(sent) == len(set(sent))
    assert sent[0] == (WEEK, 1)


def test_answering_anew_does_not_send_twice_a_day(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    count(machine, week="2026-W46", affinder__start=1)
    machine.client.send()
    for level in (Level.MIDDLE, Level.BASIC, Level.FULL):
        machine.consent(level)
        machine.client.send()
    assert len(reports_of(server)) == 1


def test_a_410_that_the_service_did_not_write_is_no_end_of_consent(machine: Machine, server: respx.MockRouter) -> None:
    server.post("/api/updates/full").respond(410, html="<h1>Gone</h1>")
    machine.consent(Level.FULL)
    machine.client.send()
    assert machine.client.decision().level is Level.FULL


def test_what_an_administrator_no_longer_allows_leaves_this_computer_too(machine: Machine, server: respx.MockRouter) -> None:
    from napari_telemetry.settings import SiteRules

    machine.consent(Level.FULL)
    count(machine, affinder__start=1)
    machine.site = SiteRules(maximum_level=Level.BASIC, sources=("site.json",))
    server.get("/api/telemetry/allowed/basic").mock(side_effect=httpx.ConnectError)
    machine.client.send()
    (draft,) = machine.store.drafts.all()
    assert (draft.level, draft.facts.plugins) == (Level.BASIC, {})
    assert machine.store.drafts.counts(WEEK) == Counts()


def test_a_secret_that_is_gone_is_told_and_nothing_is_sent(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    (machine.folder / "account.sqlite3").unlink()
    result = machine.client.send()
    assert requests_of(server) == []
    assert "consent set full" in str(result.reason)
    machine.consent(Level.FULL)
    assert machine.client.send().receipt is not None


def test_lowering_the_level_takes_back_what_was_sent_this_week(machine: Machine, server: respx.MockRouter) -> None:
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


def test_a_level_that_is_switched_off_stops_the_client_and_drops_what_it_holds(
    machine: Machine, server: respx.MockRouter
) -> None:
    server.post("/api/updates/full").respond(
        410,
        content=b'{"detail": "This server does not take the level full any more."}',
        headers={"content-type": "application/problem+json"},
    )
    machine.consent(Level.FULL)
    count(machine, affinder__start=5)
    assert "off from now on" in str(machine.client.send().reason)
    assert machine.client.decision().level is Level.NONE
    assert machine.store.consents.secrets() is None
    assert machine.store.drafts.all() == []
    assert machine.store.drafts.counts(WEEK) == Counts()
    assert "switched the level full off" in machine.store.consents.history()[-1].means
