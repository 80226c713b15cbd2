"""Downloads of each plugin by Python version, from pypistats.org: of 30 days, read once a day for the pages of plugins.

They cover everybody's installations, which the numbers of people who take part can't. Nothing else depends on them.
"""

import asyncio
import re
from collections import Counter
from datetime import date, datetime, timedelta

import msgspec
import structlog
from msgspec import Struct

from aggregation.stores.aggregate import AggregateStore
from update_server.index.sources.fetching import Fetcher, RefusedError, TooLongError, UpstreamError, new_client
from update_server.index.store import IndexStore
from update_server.settings import Settings

NAME = "downloads"
EVERY_S = 3600
"""How often to look whether they are a day old."""
FRESH = timedelta(hours=20)
"""They are read again after this."""
PAUSE_S = 2.5
"""Between two requests: the service asks for at most 30 a minute."""
STORED_EVERY = 50
"""Packages after which what was read is stored."""
DAYS = 30
OUTDATED = timedelta(days=14)
"""Older numbers are not shown."""
MOST_BYTES = 2**20
_PYTHON = re.compile(r"[23]\.[0-9]{1,2}")

log = structlog.get_logger()


class Downloads(Struct, frozen=True):
    """Of one package, in the days to ``until``: how many by Python version, the newest first, as ``3.12``."""

    until: date
    by_python: dict[str, int]


class _Row(Struct):
    category: str
    date: date
    downloads: int


class _Answer(Struct):
    data: list[_Row]


_all = msgspec.json.Decoder(dict[str, Downloads])


async def refresh_downloads(settings: Settings, index: IndexStore, aggregate: AggregateStore, now: datetime) -> None:
    """Read every plugin's downloads, the oldest first, and store them for all processes.

    It takes half an hour. What was read is stored on the way, so that a restart goes on where it was. A service that does not
    answer is asked again by the next run: nothing else depends on it.
    """
    if index.loaded is None or await aggregate.shared(NAME, now - FRESH) is not None:
        return  # nothing to ask for, or they were read today
    known = await known_downloads(aggregate)
    base = settings.upstreams.downloads
    keys = sorted(
        index.loaded.packages.keys() - {"napari"}, key=lambda key: (known[key].until if key in known else date.min, key)
    )
    try:
        async with new_client([base]) as client:
            fetcher = Fetcher(client, [base], 1)
            for number, key in enumerate(keys, 1):
                try:
                    answer = await fetcher.get(f"{base}/api/packages/{key}/python_minor", max_bytes=MOST_BYTES)
                except (RefusedError, TooLongError) as error:
                    log.warning("downloads_not_read", package=key, error=str(error))
                    continue
                found = _summed(answer.text) if answer and answer.text else None
                known.pop(key, None)
                if found is not None:
                    known[key] = found
                if number % STORED_EVERY == 0:
                    await aggregate.share(NAME, now - FRESH, msgspec.json.encode(known))
                await asyncio.sleep(PAUSE_S)
    except UpstreamError as error:
        log.warning("downloads_not_read", error=str(error))
        await aggregate.share(NAME, now - FRESH, msgspec.json.encode(known))
    else:
        await aggregate.share(NAME, now, msgspec.json.encode(known))
        log.info("downloads_read", packages=len(known))


async def known_downloads(aggregate: AggregateStore) -> dict[str, Downloads]:
    """Return the downloads that are kept, by package; none if a version of this program wrote them that had another form."""
    try:
        return _all.decode(await aggregate.shared(NAME) or b"{}")
    except msgspec.DecodeError:
        return {}


def current(found: Downloads | None, now: datetime) -> Downloads | None:
    """Return downloads, unless they are too old to be shown."""
    return found if found is not None and now.date() - found.until <= OUTDATED else None


def _summed(text: bytes) -> Downloads | None:
    """Add up the days of an answer; None where there is none, or it is not what it should be."""
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
