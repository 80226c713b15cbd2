"""The update check against a recorded server: every request that leaves is seen."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import httpx
import msgspec
import pytest
import respx
from napari_telemetry.environment import Distribution
from napari_telemetry.errors import ServerAnswerError, ServerUnreachableError, SettingsError
from napari_telemetry.state.snoozes import Snooze
from napari_telemetry.updates import Status
from napari_telemetry.wire import Level

from tests.support.client import HERE, TABLE, TABLE_BODY, TABLE_PATH, Machine, requests_of, table_of

CHECK = [("GET", TABLE_PATH)]


@pytest.mark.promise("nothing-without-consent")
def test_without_consent_nothing_but_the_get_goes_out(machine: Machine, server: respx.MockRouter) -> None:
    result = machine.client.check()
    assert requests_of(server) == CHECK
    request = server.calls[0].request
    assert request.url.query == b"", "it says neither Python nor napari nor plugins"
    assert request.content == b""
    assert "cookie" not in request.headers
    assert {row.name: row.status for row in result.rows} == {"affinder": Status.UPDATE, "napari-harpy": Status.UP_TO_DATE}
    assert result.telemetry.receipt is None


@pytest.mark.parametrize(
    ("napari", "latest"),
    [
        (Distribution("napari", "0.6.1"), "0.4.5"),
        (Distribution("napari", "0.7.0rc1"), "0.5.0"),
        (Distribution("napari", "0.7.0.dev3+g1234"), "0.5.0"),
        (Distribution("napari", "0.6.1", is_local=True), "0.5.0"),
    ],
)
def test_a_plugin_fits_a_released_napari(machine: Machine, server: respx.MockRouter, napari: Distribution, latest: str) -> None:
    machine.environment = msgspec.structs.replace(HERE, distributions={**HERE.distributions, "napari": napari})
    rows = [{"version": "0.5.0", "requires_napari": ">=0.8"}, {"version": "0.4.5"}]
    server.get(TABLE_PATH).respond(200, json=TABLE | {"packages": {"affinder": {"releases": rows}}})
    (row,) = machine.client.check().rows
    assert row.latest == latest
    assert row.note == ("0.5.0 needs napari >=0.8; this is 0.6.1" if latest == "0.4.5" else row.note)


@pytest.mark.promise("no-tracking")
def test_no_check_is_conditional_so_that_an_etag_cannot_be_a_cookie(machine: Machine, server: respx.MockRouter) -> None:
    tagged = {"etag": '"cookie-123"', "set-cookie": "id=1", "content-type": "application/json"}
    server.get(TABLE_PATH).respond(200, content=TABLE_BODY, headers=tagged)
    first = machine.client.check()
    assert machine.client.check().rows == first.rows
    for call in server.calls:
        assert "if-none-match" not in call.request.headers
        assert "cookie" not in call.request.headers


SUMMARY = [
    {
        "name": "Affinder",
        "version": "0.5.0",
        "summary": "x",
        "pypi_versions": ["0.5.0"],
        "conda_versions": ["0.4.0", "0.4.1rc1"],
    },
    {"name": "other", "version": "1.0"},
]


def test_todays_index_knows_the_conda_versions_too(machine: Machine, server: respx.MockRouter) -> None:
    machine.environment = msgspec.structs.replace(HERE, channel="conda-forge")
    server.get("/api/updates/conda-forge.json").respond(404)
    server.get("/api/extended_summary").respond(200, json=SUMMARY)
    assert [(row.latest, row.status) for row in machine.client.check().rows] == [("0.4.0", Status.UP_TO_DATE)]


ANSWERS: list[dict[str, Any]] = [
    {"status_code": 200, "html": "<html>Please log in to this network</html>"},
    {"status_code": 302, "headers": {"location": "https://portal.example"}},
    {"status_code": 200, "content": b"{", "headers": {"content-type": "application/json"}},
    {"status_code": 200, "json": {"packages": "none"}},
    {"status_code": 200, "content": b" " * (9 * 2**20), "headers": {"content-type": "application/json"}},
]


@pytest.mark.parametrize("answer", ANSWERS, ids=["captive portal", "redirect", "cut off", "another form", "too long"])
def test_an_answer_that_is_no_use_is_refused(machine: Machine, server: respx.MockRouter, answer: dict[str, Any]) -> None:
    server.get(TABLE_PATH).respond(**answer)
    with pytest.raises(ServerAnswerError):
        machine.client.check()
    assert len(server.calls) == 1, "no redirect is followed"


@pytest.mark.promise("check-off")
def test_the_check_itself_can_be_switched_off(machine: Machine, server: respx.MockRouter) -> None:
    machine.environ = {"NAPARI_UPDATE_CHECK": "0"}
    with pytest.raises(SettingsError, match="NAPARI_UPDATE_CHECK"):
        machine.client.check()
    assert not server.calls


def test_a_check_that_nobody_asked_for_waits_until_the_server_says(machine: Machine, server: respx.MockRouter) -> None:
    first = machine.client.check(only_if_due=True)
    machine.clock.forward(hours=23)
    again = machine.client.check(only_if_due=True)
    assert (again.is_from_cache, again.rows) == (True, first.rows)
    assert requests_of(server) == CHECK
    machine.clock.forward(hours=4)
    assert not machine.client.check(only_if_due=True).is_from_cache
    assert requests_of(server) == CHECK * 2


def test_failures_are_tried_again_less_and_less_often_also_after_a_restart(machine: Machine, server: respx.MockRouter) -> None:
    server.get(TABLE_PATH).mock(side_effect=httpx.ConnectError)
    tries = []
    for minute in range(0, 24 * 60, 5):
        before = len(server.calls)
        with pytest.raises(ServerUnreachableError):
            machine.client.check(only_if_due=True)  # a new client each time, as after a restart
        if len(server.calls) > before:
            tries.append(minute)
        machine.clock.forward(minutes=5)
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert 4 <= len(tries) <= 8
    assert gaps == sorted(gaps)
    assert gaps[0] >= 15


def test_a_server_that_asks_for_a_pause_gets_it_from_everybody(machine: Machine, server: respx.MockRouter) -> None:
    machine.client.check()
    server.get(TABLE_PATH).respond(503, headers={"retry-after": "7200"})
    assert machine.client.check().is_from_cache
    asked = len(server.calls)
    waiting = machine.client.check()
    assert "asked not to be asked again" in str(waiting.notice)
    assert len(server.calls) == asked
    machine.clock.forward(hours=2.5)
    machine.client.check()
    assert len(server.calls) == asked + 1


def test_snoozed_updates_are_no_updates_until_the_time_is_over(machine: Machine, server: respx.MockRouter) -> None:
    client = machine.client
    machine.store.snoozes.add(Snooze("affinder", "0.5.0", machine.clock.now.replace(day=25)))
    snoozed = client.check().rows[0]
    assert (snoozed.status, snoozed.note) == (Status.SNOOZED, "snoozed until 2026-11-25")
    assert not snoozed.needs_attention
    machine.clock.forward(days=8)
    assert client.check().rows[0].status is Status.UPDATE
    machine.store.snoozes.add(Snooze("affinder", "0.4.9"))
    assert client.check().rows[0].status is Status.UPDATE, "another version is snoozed"


def test_state_that_cannot_be_read_ends_no_check(machine: Machine, server: respx.MockRouter) -> None:
    machine.consent(Level.FULL)
    path = machine.folder / "environments" / "here.sqlite3"
    path.write_bytes(b"no database, but longer than its header would have to be" * 40)
    result = machine.client.check()
    assert len(result.rows) == 2
    assert requests_of(server) == CHECK, "what can't be read is no consent"
    assert "here.sqlite3" in str(result.notice)
    assert "here.sqlite3" in str(result.telemetry.reason)


def test_an_example_before_anybody_agreed_makes_no_secret_and_asks_nobody(machine: Machine, server: respx.MockRouter) -> None:
    machine.client.check()
    asked = len(server.calls)
    example = json.loads(machine.client.example(Level.FULL))
    assert [plugin["name"] for plugin in example["report"]["plugins"]] == ["affinder", "napari-harpy"]
    assert len(server.calls) == asked
    assert machine.store.consents.secrets() is None
    assert example["report"]["identifier"] != json.loads(machine.client.example(Level.FULL))["report"]["identifier"]


def in_conda(machine: Machine, **installers: str) -> None:
    """Let the packages be installed by these tools, in a conda environment."""
    distributions = {
        name.replace("_", "-"): Distribution(name.replace("_", "-"), "1.0", installer=tool) for name, tool in installers.items()
    }
    machine.environment = msgspec.structs.replace(HERE, channel="conda-forge", distributions=distributions)


def test_in_a_conda_environment_what_pip_installed_is_looked_up_on_pypi(machine: Machine, server: respx.MockRouter) -> None:
    in_conda(machine, affinder="conda", micro_sam="pip", only_on_pypi="pip")
    server.get("/api/updates/conda-forge.json").respond(200, json=table_of(affinder="1.1", micro_sam="1.5"))
    server.get(TABLE_PATH).respond(200, json=table_of(affinder="2.0", micro_sam="1.8", only_on_pypi="1.2"))
    latest = {"affinder": "1.1", "micro-sam": "1.8", "only-on-pypi": "1.2"}
    assert {row.name: row.latest for row in machine.client.check().rows} == latest
    known = machine.client.known()
    assert known is not None
    assert {row.name: row.latest for row in known.rows} == latest
    assert not any(call.request.url.query for call in server.calls)


def test_todays_index_knows_what_conda_forge_calls_a_project(machine: Machine, server: respx.MockRouter) -> None:
    in_conda(machine, micro_sam="conda")
    server.get("/api/updates/conda-forge.json").respond(404)
    server.get("/api/extended_summary").respond(200, json=[{"name": "micro-sam", "version": "2", "conda_versions": ["1.5"]}])
    server.get("/api/conda-map").respond(200, json={"micro-sam": "conda-forge/micro_sam", "other": None})
    (row,) = machine.client.check().rows
    assert (row.latest, row.status) == ("1.5", Status.UPDATE)


def test_where_it_is_not_known_what_fits_the_command_names_no_version(machine: Machine, server: respx.MockRouter) -> None:
    server.get(TABLE_PATH).respond(404)
    server.get("/api/extended_summary").respond(200, json=SUMMARY)
    assert machine.client.check().rows[0].command == "/home/me/venv/bin/python -m pip install --upgrade affinder"


@pytest.mark.parametrize("answer", [*ANSWERS, {"status_code": 403}, {"status_code": 511}, {"status_code": 500}])
def test_with_an_answer_from_before_no_bad_answer_ends_a_check(
    machine: Machine, server: respx.MockRouter, answer: dict[str, Any]
) -> None:
    rows = machine.client.check().rows
    server.get(TABLE_PATH).respond(**answer)
    result = machine.client.check()
    assert (result.is_from_cache, result.rows) == (True, rows)
    assert "2026-11-18 12:00" in str(result.notice)


def test_a_snooze_does_not_silence_a_vulnerability(machine: Machine, server: respx.MockRouter) -> None:
    machine.store.snoozes.add(Snooze("affinder", "*"))
    packages = {"affinder": {"releases": [{"version": "0.5.0"}], "vulnerabilities": {"0.4.0": ["PYSEC-2026-1"]}}}
    server.get(TABLE_PATH).respond(200, json=TABLE | {"packages": packages})
    (row,) = machine.client.check().rows
    assert (row.status, row.needs_attention) == (Status.SNOOZED, True)
    assert "affinder==0.5.0" in str(row.command)


def test_an_address_without_an_index_is_named(machine: Machine, server: respx.MockRouter) -> None:
    server.get(TABLE_PATH).respond(404)
    server.get("/api/extended_summary").respond(404)
    with pytest.raises(ServerAnswerError, match="There is no plugin index at https://updates"):
        machine.client.check()
