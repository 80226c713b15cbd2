"""The update check against a server that records every request."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from napari_update_hook import __version__
from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.errors import ServerAnswerError, ServerUnreachableError, SettingsError
from napari_update_hook.state import Snooze
from napari_update_hook.updates import Status

from tests.support.hook import CONDA_FORGE, PYPI, Machine, environment, table
from tests.support.raw_server import RecordingServer

SUMMARY = [
    {"name": "Affinder", "version": "0.5.0", "pypi_versions": ["0.5.0"], "conda_versions": ["0.4.0", "0.4.1rc1"]},
    {"name": "other", "version": "1.0"},
]


@pytest.mark.promise("nothing-without-consent")
@pytest.mark.promise("no-tracking")
def test_a_check_is_one_request_that_names_only_this_package(machine: Machine, server: RecordingServer) -> None:
    server.answer(PYPI, table({"affinder": "0.5.0"}), etag='"cookie-123"', set_cookie="id=1")
    for _ in range(2):
        machine.client.check()
    for method, path, headers in server.requests:
        assert (method, path) == ("GET", PYPI), "no Python version, napari version or plugin"
        assert headers.pop("host")
        assert headers == {
            "user-agent": f"napari-update-hook/{__version__}",
            "accept": "application/json",
            "accept-encoding": "gzip",
        }, "no cookie, and no ETag that could serve as one"
    assert len(server.requests) == 2


def test_compatible_updates_are_found_and_held_back_ones_explained(machine: Machine) -> None:
    result = machine.client.check()
    rows = {row.name: row for row in result.rows}
    assert rows.keys() == {"affinder", "napari-harpy"}
    assert (rows["affinder"].status, rows["affinder"].target) == (Status.UPDATE, "0.5.0")
    assert (rows["napari-harpy"].target, rows["napari-harpy"].note) == (None, "0.1.3 needs Python >=3.12; this is 3.10")
    assert result.unlisted == ("private-plugin",)
    assert [str(one) for one in result.how.commands] == [
        "/home/me/venv/bin/python -m pip install affinder==0.5.0 napari-harpy==0.1.2"
    ], "one command, which names listed packages only"


def test_a_check_writes_one_file(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_update_hook.state import State

    written: list[str] = []
    write = State._write

    def note(self: State, name: str, document: dict[str, Any]) -> None:
        written.append(name)
        write(self, name, document)

    monkeypatch.setattr(State, "_write", note)
    machine.client.check()
    assert written == ["check.json"]


def test_todays_index_is_used_without_compatibility_data(machine: Machine, server: RecordingServer) -> None:
    server.answer(PYPI, b"", 404)
    server.answer("/api/extended_summary", SUMMARY, content_type="application/octet-stream")
    result = machine.client.check()
    assert "affinder: it may not work" not in result.rows[0].note
    assert result.rows[0].note == "it may not work with your Python and napari"
    assert "It does not know which versions work with your Python and napari" in str(result.notice)
    assert machine.client.known() == result.__class__(**{**vars(result), "is_from_cache": True})


def test_todays_index_provides_conda_versions_and_names(machine: Machine, server: RecordingServer) -> None:
    machine.environment = environment(channel="conda-forge", micro_sam=Distribution("micro-sam", "1.0", (), "conda"))
    server.answer("/api/extended_summary", [{"name": "micro-sam", "version": "2", "conda_versions": ["1.5", "1.6rc1"]}])
    server.answer("/api/conda-map", {"micro-sam": "conda-forge/micro_sam", "other": None})
    result = machine.client.check()
    assert [(row.target, row.status) for row in result.rows] == [("1.5", Status.UPDATE)]


ANSWERS: list[dict[str, Any]] = [
    {"content": b"<html>Please log in to this network</html>", "content_type": "text/html"},
    {"content": b"", "status": 302, "location": "https://portal.example"},
    {"content": b"{"},
    {"content": {"packages": "none"}},
    {"content": b" " * (9 * 2**20)},
    {"content": b"\xff\xfe"},
]
IDS = ["captive portal", "redirect", "truncated", "wrong type", "too long", "not UTF-8"]


@pytest.mark.parametrize("answer", ANSWERS, ids=IDS)
def test_an_unusable_answer_is_rejected(machine: Machine, server: RecordingServer, answer: dict[str, Any]) -> None:
    server.answer(PYPI, **answer)
    with pytest.raises(ServerAnswerError):
        machine.client.check()
    assert len(server.requests) == 1, "no redirect is followed"


@pytest.mark.parametrize("answer", [*ANSWERS, {"content": b"", "status": 403}, {"content": b"", "status": 500}])
def test_a_cached_answer_replaces_an_unusable_one(machine: Machine, server: RecordingServer, answer: dict[str, Any]) -> None:
    rows = machine.client.check().rows
    server.answer(PYPI, **answer)
    result = machine.client.check()
    assert (result.is_from_cache, result.rows) == (True, rows)
    assert "2026-11-18 12:00" in str(result.notice)


@pytest.mark.promise("check-off")
def test_the_check_can_be_switched_off(machine: Machine, server: RecordingServer) -> None:
    machine.disabled_by = "NAPARI_UPDATE_CHECK=0 is set"
    with pytest.raises(SettingsError, match="NAPARI_UPDATE_CHECK"):
        machine.client.check()
    assert not server.requests


def test_an_automatic_check_waits_for_the_servers_interval(machine: Machine, server: RecordingServer) -> None:
    first = machine.client.check(only_if_due=True)
    machine.clock.forward(hours=23)
    again = machine.client.check(only_if_due=True)
    assert (again.is_from_cache, again.rows) == (True, first.rows)
    assert len(server.requests) == 1
    machine.clock.forward(hours=4)
    assert not machine.client.check(only_if_due=True).is_from_cache


@pytest.mark.parametrize(("seconds", "days"), [(0, 1), (10, 1), (3 * 86400, 3), (10**9, 7)])
def test_the_server_can_only_lengthen_the_interval_in_whole_days(
    machine: Machine, server: RecordingServer, seconds: int, days: int
) -> None:
    server.answer(PYPI, table({"affinder": "0.5.0"}) | {"check_again_s": seconds})
    machine.client.check()
    machine.clock.forward(days=days, hours=-1)
    machine.client.check(only_if_due=True)
    assert len(server.requests) == 1
    machine.clock.forward(days=days * 0.1, hours=1)
    machine.client.check(only_if_due=True)
    assert len(server.requests) == 2


def test_retries_back_off_even_across_restarts(machine: Machine, server: RecordingServer) -> None:
    server.answer(PYPI, b"", 500)
    tries = []
    for minute in range(0, 24 * 60, 5):
        before = len(server.requests)
        with pytest.raises((ServerUnreachableError, ServerAnswerError)):
            machine.client.check(only_if_due=True)  # a new client, as after a restart
        if len(server.requests) > before:
            tries.append(minute)
        machine.clock.forward(minutes=5)
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert 4 <= len(tries) <= 8
    assert gaps == sorted(gaps)
    assert gaps[0] >= 15


def test_retry_after_also_delays_a_manual_check(machine: Machine, server: RecordingServer) -> None:
    machine.client.check()
    server.answer(PYPI, b"", 503, retry_after="7200")
    assert machine.client.check().is_from_cache
    waiting = machine.client.check()
    assert "asks clients to wait until" in str(waiting.notice)
    assert len(server.requests) == 2
    machine.clock.forward(hours=2.5)
    machine.client.check()
    assert len(server.requests) == 3


def test_an_unreachable_server_is_an_error_only_without_a_cached_answer(machine: Machine, server: RecordingServer) -> None:
    machine.client.check()
    server.close()
    assert machine.client.check().is_from_cache
    machine.folder = machine.folder.with_name("fresh")
    with pytest.raises(ServerUnreachableError):
        machine.client.check()


def test_snoozed_updates_need_no_attention_until_the_snooze_ends(machine: Machine) -> None:
    machine.state.snooze(Snooze("affinder", "0.5", machine.clock.now.replace(day=25)))
    snoozed = machine.client.check().rows[0]
    assert (snoozed.status, snoozed.note) == (Status.SNOOZED, "snoozed until 2026-11-25")
    assert not snoozed.needs_attention
    machine.clock.forward(days=8)
    assert machine.client.check().rows[0].status is Status.UPDATE
    machine.state.snooze(Snooze("affinder", "0.4.9"))
    assert machine.client.check().rows[0].status is Status.UPDATE, "only another version is snoozed"


def test_a_snooze_does_not_silence_a_vulnerability(machine: Machine, server: RecordingServer) -> None:
    machine.state.snooze(Snooze("affinder", "*"))
    server.answer(
        PYPI, table({"affinder": {"releases": [{"version": "0.5.0"}], "vulnerabilities": {"0.4.0": ["PYSEC-2026-1"]}}})
    )
    (row,) = machine.client.check().rows
    assert (row.status, row.needs_attention) == (Status.SNOOZED, True)
    assert "0.4.0 has a known vulnerability: PYSEC-2026-1" in row.note


def test_pip_packages_in_a_conda_environment_are_looked_up_on_pypi(machine: Machine, server: RecordingServer) -> None:
    tools = {"affinder": "conda", "micro-sam": "pip", "only-on-pypi": "uv"}
    found = {name: Distribution(name, "1.0", (), tool, is_plugin=True) for name, tool in tools.items()}
    machine.environment = Environment("3.10.2", "conda-forge", found)
    server.answer(CONDA_FORGE, table({"affinder": "1.1", "micro-sam": "1.5"}, "conda-forge"))
    server.answer(PYPI, table({"affinder": "2.0", "micro-sam": "1.8", "only-on-pypi": "1.2"}))
    targets = {"affinder": "1.1", "micro-sam": "1.8", "only-on-pypi": "1.2"}
    assert {row.name: row.target for row in machine.client.check().rows} == targets
    known = machine.client.known()
    assert known is not None
    assert {row.name: row.target for row in known.rows} == targets


@pytest.mark.parametrize("version", ["0.9.0.dev12+gabc", "0.8.0rc1"])
def test_a_development_napari_version_gets_no_command(machine: Machine, server: RecordingServer, version: str) -> None:
    machine.environment = environment(napari=version, affinder="0.4.0")
    rows = [{"version": "0.6", "requires_napari": ">=0.8"}, {"version": "0.5", "requires_napari": "<0.8"}]
    server.answer(PYPI, table({"affinder": rows, "napari": "0.9.2"}))
    result = machine.client.check()
    assert {row.name: row.target for row in result.rows} == {"napari": None, "affinder": "0.6"}
    assert result.how.commands == ()
    assert version in str(result.how.reason)
    assert "development version" in str(result.notice)


def test_a_missing_home_folder_is_reported_and_the_check_works(machine: Machine, server: RecordingServer) -> None:
    from napari_update_hook.client import UpdateClient
    from napari_update_hook.settings import Settings
    from napari_update_hook.state import State

    client = UpdateClient(Settings(server.url, None), State(None, "here"), machine.environment, machine.install)
    result = client.check()
    assert result.rows[0].status is Status.UPDATE
    assert "no home folder" in str(result.notice)


def test_an_unwritable_state_folder_is_reported_and_the_check_works(machine: Machine) -> None:
    machine.folder.write_text("in the way")
    result = machine.client.check()
    assert result.rows[0].status is Status.UPDATE
    assert "cannot be written" in str(result.notice)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"answers": 3, "pause": [1]}', b"\xff\xfe\x00"])
def test_damaged_state_is_ignored(machine: Machine, server: RecordingServer, content: bytes) -> None:
    machine.client.check()
    assert machine.state.folder is not None
    (machine.state.folder / "check.json").write_bytes(content)
    assert not machine.client.check().is_from_cache


def test_a_server_without_an_index_is_named_in_the_error(machine: Machine, server: RecordingServer) -> None:
    server.answers.clear()
    with pytest.raises(ServerAnswerError, match="There is no plugin index at http://127"):
        machine.client.check()


def test_updates_are_announced_once_and_at_most_once_a_day(machine: Machine, server: RecordingServer) -> None:
    rows = machine.client.check().rows
    assert [row.name for row in machine.client.claim_notification(rows)] == ["affinder"]
    assert machine.client.claim_notification(rows) == []
    server.answer(PYPI, table({"affinder": "0.6.0"}))
    newer = machine.client.check().rows
    assert machine.client.claim_notification(newer) == [], "at most once a day"
    machine.clock.forward(days=2)
    machine.state.set_notifications(False)
    assert machine.client.claim_notification(newer) == []
    machine.state.set_notifications(True)
    assert len(machine.client.claim_notification(newer)) == 1


def test_a_free_threaded_python_gets_a_notice(machine: Machine) -> None:
    from dataclasses import replace

    machine.environment = replace(machine.environment, is_free_threaded=True)
    assert "free-threaded" in str(machine.client.check().notice)


@pytest.mark.parametrize("written", ["2022.01.05", "2022.1.5"])
def test_withdrawn_versions_are_compared_in_normalized_form(machine: Machine, server: RecordingServer, written: str) -> None:
    machine.environment = environment(affinder=written)
    server.answer(PYPI, table({"affinder": {"releases": [{"version": "2022.1.6"}], "yanked": {"2022.1.5": "broken"}}}))
    (row,) = machine.client.check().rows
    assert row.withdrawn == "broken"


def test_notices_apply_only_to_matching_releases(machine: Machine, server: RecordingServer) -> None:
    machine.environment = environment(affinder="1.2.0")
    wrong = {"text": "1.2.0 measures wrongly.", "specifier": "==1.2.0", "severity": "warning", "link": "https://e.org/1"}
    package = {"releases": [{"version": "1.3.0"}], "inactive": True, "notices": [
        wrong, wrong | {"text": "Outdated.", "specifier": "<1"}, wrong | {"text": "Expired.", "until": "2001-01-01"},
        {"text": "A tutorial.", "severity": "info"}, {"text": "Slow.", "specifier": "==1.3.0", "severity": "info"},
    ]}  # fmt: skip
    server.answer(PYPI, table({"affinder": package}))
    (row,) = machine.client.check().rows
    assert row.note == "1.2.0 measures wrongly. https://e.org/1; A tutorial.; about 1.3.0: Slow.; no longer maintained"
    assert (row.warnings, row.is_unsafe) == (("1.2.0 measures wrongly.",), True)
    machine.environment = environment(affinder="1.1.0")
    (row,) = machine.client.check().rows
    assert (row.warnings, row.is_unsafe) == ((), False)


def test_a_conda_plugin_beside_a_pip_napari_gets_conda_versions(machine: Machine, server: RecordingServer) -> None:
    found = {"napari": Distribution("napari", "0.6.1", (), "pip"), "affinder": Distribution("affinder", "1.0", (), "conda")}
    machine.environment = Environment("3.10.2", "pypi", {**found, "numpy": Distribution("numpy", "1", (), "conda")})
    server.answer(PYPI, table({"affinder": "9.0", "napari": "0.6.1"}))
    server.answer(CONDA_FORGE, table({"affinder": "1.1"}, "conda-forge"))
    assert {row.name: row.target for row in machine.client.check().rows} == {"napari": None, "affinder": "1.1"}


def test_a_version_with_thousands_of_digits_is_ignored(machine: Machine, server: RecordingServer) -> None:
    server.answer(PYPI, table({"affinder": "9" * 5000, "napari-harpy": "1" + ".0" * 5000}))
    result = machine.client.check()
    assert not any(row.target == "9" * 5000 for row in result.rows)
    json.dumps([row.note for row in result.rows])
