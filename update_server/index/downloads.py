"""Downloads of plugins in 30 days by Python version, from pypistats.org, for the plugins' pages."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from update_server.index.snapshot import replace_file
from update_server.index.sources.fetching import Fetcher, RefusedError, TooLongError, UpstreamError, new_client
from update_server.index.store import IndexStore
from update_server.settings import Settings

NAME = "downloads.json"
REFRESH_INTERVAL_S = 3600
MAX_AGE = timedelta(hours=20)
"""Age at which downloads are fetched again."""
PAUSE_S = 2.5
"""Seconds between requests: pypistats.org allows 30 per minute."""
SAVE_INTERVAL_PACKAGES = 50
"""Number of packages between saves."""
DAYS = 30
MAX_SHOWN_AGE = timedelta(days=14)
"""Age at which downloads are no longer shown."""
MAX_BYTES = 2**20
_PYTHON = re.compile(r"[23]\.[0-9]{1,2}")

log = structlog.get_logger()


class Downloads(Struct, frozen=True):
    """Downloads of one package. ``until``: the last day. ``by_python``: newest version first, keys such as ``3.12``."""

    until: date
    by_python: dict[str, int]


class _Row(Struct):
    category: str
    date: date
    downloads: int


class _Answer(Struct):
    data: list[_Row]


class _SavedDownloads(Struct, frozen=True):
    """Content of the file. ``as_of``: time of the last complete run."""

    as_of: datetime
    packages: dict[str, Downloads]


_decode = msgspec.json.Decoder(_SavedDownloads).decode


async def refresh_downloads(settings: Settings, index: IndexStore, now: datetime) -> None:
    """Fetch and save the downloads of every plugin, starting with the oldest data.

    This takes half an hour and resumes after a restart. The next run retries failed requests.
    """
    path = settings.data / NAME
    kept = _kept(path)
    if index.loaded is None or now - MAX_AGE < kept.as_of <= now:
        return  # no index yet, or already read today
    known = dict(kept.packages)
    base = settings.upstreams.downloads
    keys = sorted(
        index.loaded.packages.keys() - {"napari"}, key=lambda key: (known[key].until if key in known else date.min, key)
    )
    as_of = kept.as_of
    try:
        async with new_client([base]) as client:
            fetcher = Fetcher(client, [base], 1)
            for number, key in enumerate(keys, 1):
                await asyncio.sleep(PAUSE_S)
                try:
                    answer = await fetcher.get(f"{base}/api/packages/{key}/python_minor", max_bytes=MAX_BYTES)
                except (RefusedError, TooLongError) as error:
                    log.warning("downloads_not_read", package=key, error=str(error))
                    continue
                found = _sum_by_python(answer.text) if answer and answer.text else None
                known.pop(key, None)
                if found is not None:
                    known[key] = found
                if number % SAVE_INTERVAL_PACKAGES == 0:
                    replace_file(path, msgspec.json.encode(_SavedDownloads(as_of, known)))
        as_of = now
        log.info("downloads_read", packages=len(known))
    except UpstreamError as error:
        log.warning("downloads_not_read", error=str(error))
    replace_file(path, msgspec.json.encode(_SavedDownloads(as_of, known)))


def read_downloads(folder: Path) -> Mapping[str, Downloads]:
    """Return the saved downloads by package, empty if the file is missing or unreadable."""
    return _kept(folder / NAME).packages


def _kept(path: Path) -> _SavedDownloads:
    try:
        return _decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return _SavedDownloads(datetime.min.replace(tzinfo=UTC), {})


def current(found: Downloads | None, now: datetime) -> Downloads | None:
    """Return the downloads unless they are outdated or from the future."""
    return found if found is not None and abs(now.date() - found.until) <= MAX_SHOWN_AGE else None


def _sum_by_python(text: bytes) -> Downloads | None:
    """Return the sums of a response, or None if it is empty or invalid."""
    try:
        rows = msgspec.json.decode(text, type=_Answer).data
    except msgspec.DecodeError:
        return None
    if not rows:
        return None
    until = max(row.date for row in rows)
    counted: Counter[str] = Counter()
    for row in rows:
        if _PYTHON.fullmatch(row.category) and until - row.date < timedelta(days=DAYS) and row.downloads > 0:
            counted[row.category] += row.downloads
    newest_first = sorted(counted, key=lambda python: [int(part) for part in python.split(".")], reverse=True)
    return Downloads(until, {python: counted[python] for python in newest_first}) if counted else None
