"""Downloads by Python version, read once a day from an upstream that may fail."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import respx
from httpx import Response
from structlog.testing import capture_logs

from tests.support.facts import write_snapshot
from update_server.index import downloads
from update_server.index.downloads import Downloads, current, read_downloads, refresh_downloads
from update_server.index.sources import fetching
from update_server.index.store import IndexStore
from update_server.settings import Settings

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BASE = "http://127.0.0.1:9"


def answer(**by_python: int) -> Response:
    """Return a response with the same number for each of forty days."""
    days = [date(2026, 11, 19) - timedelta(days=number) for number in range(40)]
    names = {"null": "null", **{name: name.replace("py", "").replace("_", ".") for name in by_python}}
    rows = [
        {"category": names[name], "date": str(day), "downloads": number} for name, number in by_python.items() for day in days
    ]
    return Response(200, json={"data": rows, "package": "x", "type": "python_minor_downloads"})


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, IndexStore]:
    monkeypatch.setattr(downloads, "PAUSE_S", 0)
    monkeypatch.setattr(fetching, "ATTEMPTS", 1)
    write_snapshot(tmp_path)
    settings = Settings(data=tmp_path, upstream=BASE)
    index = IndexStore(settings.snapshot_path, None, settings.check_again_s)
    index.load()
    return settings, index


async def test_thirty_days_are_summed_by_python_newest_first(
    made: tuple[Settings, IndexStore], respx_mock: respx.MockRouter
) -> None:
    settings, index = made
    respx_mock.get(f"{BASE}/api/packages/affinder/python_minor").mock(answer(py3_9=2, py3_12=10, null=99))
    respx_mock.get(url__regex=rf"{BASE}/api/packages/.*").mock(Response(404))
    await refresh_downloads(settings, index, NOW)
    assert read_downloads(settings.data) == {"affinder": Downloads(date(2026, 11, 19), {"3.12": 300, "3.9": 60})}
    assert not any("napari/" in str(call.request.url) for call in respx_mock.calls)
    asked = len(respx_mock.calls)
    await refresh_downloads(settings, index, NOW + timedelta(hours=1))
    assert len(respx_mock.calls) == asked, "once a day"


async def test_a_failing_upstream_ends_the_run_and_known_numbers_stay(
    made: tuple[Settings, IndexStore], respx_mock: respx.MockRouter
) -> None:
    settings, index = made
    everything = respx_mock.get(url__regex=rf"{BASE}/api/packages/.*").mock(answer(py3_12=1))
    await refresh_downloads(settings, index, NOW)
    known = read_downloads(settings.data)
    assert len(known) > 2
    everything.side_effect = [answer(py3_12=2), Response(503)]
    with capture_logs() as lines:
        await refresh_downloads(settings, index, NOW + timedelta(days=1))
    assert [(line["event"], "503" in line["error"]) for line in lines if line["log_level"] == "warning"] == [
        ("downloads_not_read", True)
    ]
    assert everything.call_count == len(known) + 2
    after = read_downloads(settings.data)
    assert set(after) == set(known)
    assert sorted(found.by_python["3.12"] for found in after.values()) == [30] * (len(known) - 1) + [60]
    everything.side_effect = None
    await refresh_downloads(settings, index, NOW + timedelta(days=1, hours=1))
    assert everything.call_count == 2 * len(known) + 2, "the next start continues without waiting for a day"


async def test_a_refused_package_does_not_stop_the_others(
    made: tuple[Settings, IndexStore], respx_mock: respx.MockRouter
) -> None:
    settings, index = made
    respx_mock.get(f"{BASE}/api/packages/affinder/python_minor").mock(Response(403))
    respx_mock.get(url__regex=rf"{BASE}/api/packages/.*").mock(answer(py3_12=1))
    await refresh_downloads(settings, index, NOW)
    assert index.loaded is not None
    assert set(read_downloads(settings.data)) == set(index.loaded.packages) - {"napari", "affinder"}


def test_an_unreadable_downloads_file_is_ignored(tmp_path: Path) -> None:
    (tmp_path / downloads.NAME).write_bytes(b"[]")
    assert read_downloads(tmp_path) == {}


@pytest.mark.parametrize("text", [b"", b"[]", b'{"data": []}', b'{"data": [{"category": 1}]}', b'{"data": [{}]}'])
def test_a_malformed_response_gives_none(text: bytes) -> None:
    assert downloads._sum_by_python(text) is None


def test_outdated_downloads_are_not_shown() -> None:
    found = Downloads(NOW.date() - timedelta(days=14), {"3.12": 1})
    assert current(found, NOW) == found
    assert current(found, NOW + timedelta(days=1)) is None
    assert current(Downloads(NOW.date() + timedelta(days=15), {"3.12": 1}), NOW) is None
    assert current(None, NOW) is None
