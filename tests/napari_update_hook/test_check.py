"""The whole check against a recorded server: every request that leaves is seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from napari_update_hook.check import UpdateClient
from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.errors import ServerAnswerError, ServerUnreachableError, SettingsError
from napari_update_hook.settings import ClientSettings, SiteRules
from napari_update_hook.store import ClientStore
from napari_update_hook.updates import Status
from napari_update_hook.wire import TELEMETRY_LEVELS, Level

SERVER = "https://updates.example"
NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
UPDATES = {
    "schema_version": 1,
    "python": "3.10",
    "channel": "pypi",
    "index_version": "2026-11-18T08:00:00Z",
    "check_again_s": 86400,
    "packages": {
        "affinder": {"latest": "0.5.0"},
        "napari-harpy": {"latest": None, "newest": "0.1.3", "newest_requires_python": ">=3.12"},
    },
}
UPDATES_BODY = json.dumps(UPDATES).encode()
ALLOWED = {
    "schema_version": 1,
    "napari_versions": ["0.6.1"],
    "python_versions": ["3.10"],
    "platforms": ["linux"],
    "cpu_architectures": ["x86_64"],
    "sys_names": ["Debian 12"],
    "plugins": {"affinder": ["0.4.0", "0.5.0"]},
}
HERE = Environment(
    "3.10.2",
    "linux",
    "x86_64",
    "Debian 12",
    "pypi",
    {
        "affinder": Distribution("affinder", "0.4.0"),
        "napari-harpy": Distribution("napari-harpy", "0.1.2"),
        "private-plugin": Distribution("private-plugin", "1.0"),
    },
)


@pytest.fixture
def server() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url=SERVER, assert_all_called=False) as router:
        router.get("/api/updates").respond(200, content=UPDATES_BODY, headers={"content-type": "application/json"})
        for level in TELEMETRY_LEVELS:
            router.get(f"/api/telemetry/allowed/{level}").respond(200, json=ALLOWED)
            router.post(f"/api/updates/{level}").mock(side_effect=taken)
        yield router


def taken(request: httpx.Request) -> httpx.Response:
    """Take a batch as the service does."""
    revision = json.loads(request.content)["report"]["revision"]
    known = request.url.params.get("known")
    updates = "null" if known == hashlib.sha256(UPDATES_BODY).hexdigest()[:32] else UPDATES_BODY.decode()
    receipt = {"stored": True, "revision": revision, "reason": None, "left_out": {"plugins": 0, "commands": 0}}
    content = f'{{"receipt": {json.dumps(receipt)}, "updates": {updates}}}'
    return httpx.Response(200, content=content, headers={"content-type": "application/json"})


def client(folder: Path, environ: dict[str, str] | None = None, server: str = SERVER, deadline: float = 30) -> UpdateClient:
    settings = ClientSettings(
        server, dict.fromkeys(TELEMETRY_LEVELS, server), folder, SiteRules(), environ or {}, now=lambda: NOW
    )
    return UpdateClient(settings, ClientStore(folder, "here"), HERE, deadline)


def sent_by(router: respx.MockRouter) -> list[tuple[str, str]]:
    return [(call.request.method, call.request.url.path) for call in router.calls]


def test_without_consent_nothing_but_the_get_goes_out(tmp_path: Path, server: respx.MockRouter) -> None:
    result = client(tmp_path).check()
    assert sent_by(server) == [("GET", "/api/updates")]
    request = server.calls[0].request
    assert dict(request.url.params) == {"python": "3.10.2", "channel": "pypi"}
    assert request.content == b""
    assert "cookie" not in request.headers
    assert {row.name: row.status for row in result.rows} == {"affinder": Status.UPDATE, "napari-harpy": Status.UP_TO_DATE}
    assert result.telemetry.receipt is None


def test_the_answer_none_sends_nothing_either(tmp_path: Path, server: respx.MockRouter) -> None:
    here = client(tmp_path)
    here.set_consent(Level.NONE, until=None, means="test")
    here.check()
    assert sent_by(server) == [("GET", "/api/updates")]


@pytest.mark.parametrize("environ", [{"NAPARI_TELEMETRY": "0"}, {"DO_NOT_TRACK": "1"}, {"CI": "true"}])
def test_a_switch_beats_the_consent_record(tmp_path: Path, server: respx.MockRouter, environ: dict[str, str]) -> None:
    client(tmp_path).set_consent(Level.FULL, until=None, means="test")
    client(tmp_path, environ).check()
    assert sent_by(server) == [("GET", "/api/updates")]


def test_consent_for_one_server_sends_nothing_to_another(tmp_path: Path, server: respx.MockRouter) -> None:
    client(tmp_path, server="https://first.example").set_consent(Level.FULL, until=None, means="test")
    result = client(tmp_path).check()
    assert sent_by(server) == [("GET", "/api/updates")]
    assert "https://first.example" in str(result.telemetry.reason)


@pytest.mark.parametrize("level", TELEMETRY_LEVELS)
def test_with_consent_the_batch_goes_with_the_check_exactly_as_previewed(
    tmp_path: Path, server: respx.MockRouter, level: Level
) -> None:
    here = client(tmp_path)
    here.set_consent(level, until=None, means="test")
    previewed = here.preview()
    before = len(server.calls)
    result = here.check()
    assert sent_by(server)[before:] == [("GET", f"/api/telemetry/allowed/{level}"), ("POST", f"/api/updates/{level}")]
    assert server.calls.last.request.content == previewed
    assert result.telemetry.receipt is not None
    assert result.telemetry.receipt.stored
    assert [row.name for row in result.rows] == ["affinder", "napari-harpy"]
    assert b"private-plugin" not in server.calls.last.request.content
    assert [batch.request.encode() for batch in ClientStore(tmp_path, "here").sent()] == [previewed]


def test_preview_sends_nothing_and_changes_nothing(tmp_path: Path, server: respx.MockRouter) -> None:
    here = client(tmp_path)
    assert here.preview() is None
    here.set_consent(Level.MIDDLE, until=None, means="test")
    assert here.preview() == here.preview()
    assert {method for method, _ in sent_by(server)} == {"GET"}


def test_the_next_report_of_a_week_has_the_next_revision_and_names_the_answer_that_is_known(
    tmp_path: Path, server: respx.MockRouter
) -> None:
    here = client(tmp_path)
    here.set_consent(Level.BASIC, until=None, means="test")
    first, second = here.check(), here.check()
    assert first.telemetry.receipt is not None
    assert second.telemetry.receipt is not None
    assert (first.telemetry.receipt.revision, second.telemetry.receipt.revision) == (1, 2)
    request = server.calls.last.request
    assert request.url.params["known"] == hashlib.sha256(UPDATES_BODY).hexdigest()[:32]
    assert "if-none-match" not in request.headers
    assert second.rows == first.rows


def test_a_client_goes_on_above_the_revision_that_it_is_told(tmp_path: Path, server: respx.MockRouter) -> None:
    refused = {"stored": False, "revision": 41, "reason": "held already", "left_out": {"plugins": 0, "commands": 0}}
    server.post("/api/updates/basic").respond(200, json={"receipt": refused, "updates": UPDATES})
    here = client(tmp_path)
    here.set_consent(Level.BASIC, until=None, means="test")
    assert here.check().telemetry.receipt.revision == 41  # type: ignore[union-attr]
    assert json.loads(here.preview() or b"")["report"]["revision"] == 42
    assert ClientStore(tmp_path, "here").sent() == []


def test_the_etag_is_computed_here_and_never_what_a_server_handed_out(tmp_path: Path, server: respx.MockRouter) -> None:
    tagged = {"etag": '"cookie-123"', "set-cookie": "id=1", "content-type": "application/json"}
    server.get("/api/updates").respond(200, content=UPDATES_BODY, headers=tagged)
    here = client(tmp_path)
    here.check()
    server.get("/api/updates").respond(304)
    again = here.check()
    headers = server.calls.last.request.headers
    assert headers["if-none-match"] == f'"{hashlib.sha256(UPDATES_BODY).hexdigest()[:32]}"'
    assert "cookie" not in headers
    assert len(again.rows) == 2


@pytest.mark.parametrize("status", [400, 413, 422, 429, 500, 503])
def test_updates_never_depend_on_telemetry(tmp_path: Path, server: respx.MockRouter, status: int) -> None:
    server.post("/api/updates/middle").respond(status, json={"detail": "no"})
    here = client(tmp_path)
    here.set_consent(Level.MIDDLE, until=None, means="test")
    result = here.check()
    assert sent_by(server)[-1] == ("GET", "/api/updates")
    assert len(result.rows) == 2
    assert "no" in str(result.telemetry.reason)
    assert ClientStore(tmp_path, "here").sent() == []


def test_a_blocked_telemetry_host_leaves_the_check_alone(tmp_path: Path, server: respx.MockRouter) -> None:
    server.get("/api/telemetry/allowed/middle").mock(side_effect=httpx.ConnectError)
    here = client(tmp_path)
    here.set_consent(Level.MIDDLE, until=None, means="test")
    result = here.check()
    assert sent_by(server)[-1] == ("GET", "/api/updates")
    assert len(result.rows) == 2


def test_a_level_that_is_switched_off_stops_the_client(tmp_path: Path, server: respx.MockRouter) -> None:
    server.post("/api/updates/full").respond(410, json={"detail": "This server does not take the level full any more."})
    here = client(tmp_path)
    here.set_consent(Level.FULL, until=None, means="test")
    assert "off from now on" in str(here.check().telemetry.reason)
    assert here.decision().level is Level.NONE
    assert ClientStore(tmp_path, "here").secrets() is None


def test_offline_the_last_answer_is_used_and_its_age_is_told(tmp_path: Path, server: respx.MockRouter) -> None:
    here = client(tmp_path)
    here.check()
    server.get("/api/updates").mock(side_effect=httpx.ConnectError)
    result = here.check()
    assert result.is_from_cache
    assert "2026-11-18 12:00" in str(result.notice)
    assert len(result.rows) == 2


def test_offline_for_the_first_time_is_an_error(tmp_path: Path, server: respx.MockRouter) -> None:
    server.get("/api/updates").mock(side_effect=httpx.ConnectTimeout)
    with pytest.raises(ServerUnreachableError, match=r"updates\.example"):
        client(tmp_path).check()


def test_todays_index_is_used_for_what_it_knows(tmp_path: Path, server: respx.MockRouter) -> None:
    server.get("/api/updates").respond(404)
    server.get("/api/extended_summary").respond(200, json=[{"name": "Affinder", "version": "0.5.0", "summary": "x"}])
    result = client(tmp_path).check()
    assert [(row.name, row.status) for row in result.rows] == [("affinder", Status.UPDATE)]
    assert "can't tell" in result.rows[0].note
    assert result.notice is not None


ANSWERS: list[dict[str, Any]] = [
    {"status_code": 200, "html": "<html>Please log in to this network</html>"},
    {"status_code": 302, "headers": {"location": "https://portal.example"}},
    {"status_code": 200, "content": b"{", "headers": {"content-type": "application/json"}},
    {"status_code": 200, "json": {"packages": "none"}},
    {"status_code": 200, "content": b" " * (9 * 2**20), "headers": {"content-type": "application/json"}},
]


@pytest.mark.parametrize("answer", ANSWERS, ids=["captive portal", "redirect", "cut off", "another form", "too long"])
def test_an_answer_that_is_no_use_is_refused(tmp_path: Path, server: respx.MockRouter, answer: dict[str, Any]) -> None:
    server.get("/api/updates").respond(**answer)
    with pytest.raises(ServerAnswerError):
        client(tmp_path).check()
    assert len(server.calls) == 1, "no redirect is followed"


def test_the_check_itself_can_be_switched_off(tmp_path: Path, server: respx.MockRouter) -> None:
    with pytest.raises(SettingsError, match="NAPARI_UPDATE_CHECK"):
        client(tmp_path, {"NAPARI_UPDATE_CHECK": "0"}).check()
    assert not server.calls


def test_a_first_report_stays_first_for_the_whole_week(tmp_path: Path, server: respx.MockRouter) -> None:
    here = client(tmp_path)
    here.set_consent(Level.BASIC, until=None, means="test")
    here.check()
    here.check()
    assert [json.loads(batch.request)["report"]["first_report"] for batch in ClientStore(tmp_path, "here").sent()] == [
        True,
        True,
    ]


def test_a_person_who_agreed_to_more_than_is_sent_hears_why(tmp_path: Path, server: respx.MockRouter) -> None:
    assert not client(tmp_path, {"NAPARI_TELEMETRY": "0"}).check().telemetry.is_restricted, "nobody agreed to anything"
    client(tmp_path).set_consent(Level.FULL, until=None, means="test")
    assert client(tmp_path, {"NAPARI_TELEMETRY": "0"}).check().telemetry.is_restricted
    assert not client(tmp_path).check().telemetry.is_restricted


def test_state_that_cannot_be_written_or_read_ends_no_check(tmp_path: Path, server: respx.MockRouter) -> None:
    client(tmp_path).set_consent(Level.FULL, until=None, means="test")
    path = tmp_path / "environments" / "here.sqlite3"
    path.write_bytes(b"no database, but longer than its header would have to be" * 40)
    before = len(server.calls)
    result = client(tmp_path).check()
    assert len(result.rows) == 2
    assert sent_by(server)[before:] == [("GET", "/api/updates")], "what can't be read is no consent"
    assert "here.sqlite3" in str(result.notice)
    assert "here.sqlite3" in str(result.telemetry.reason)


def test_a_level_host_that_swallows_everything_leaves_the_check_its_time(tmp_path: Path, server: respx.MockRouter) -> None:
    """A firewall that drops silently: telemetry uses up its own deadline, and the check has one of its own."""
    import time

    def hang(_: httpx.Request) -> httpx.Response:
        time.sleep(1)
        raise httpx.ReadTimeout("dropped")

    server.get("/api/telemetry/allowed/middle").mock(side_effect=hang)
    here = client(tmp_path, deadline=0.5)
    here.set_consent(Level.MIDDLE, until=None, means="test")
    result = here.check()
    assert not result.is_from_cache
    assert len(result.rows) == 2
    assert "in time" in str(result.telemetry.reason)
