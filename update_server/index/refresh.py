"""One refresh: read everything, look whether it can be true, swap it in.

It never raises for what an upstream does: the last good index stays, and the outcome says why.
"""

import asyncio

import structlog

from aggregation.clock import Clock
from update_server.index.snapshot import Index, Origin
from update_server.index.sources import napari_index, pypi
from update_server.index.sources.base import Progress
from update_server.index.sources.fetching import Fetcher, UpstreamError, new_client
from update_server.index.store import IndexStore, RefreshOutcome
from update_server.settings import Settings

AT_ONCE = 16
"""Requests to upstream services at the same time."""
MOST_THAT_MAY_VANISH = 0.05
"""A refresh that would drop a larger share of the projects is refused: more likely the upstream is broken."""

SOURCES = {"napari-index": napari_index.read_index, "pypi": pypi.read_index}
"""By the setting UPDATE_SERVER_SOURCE: each reads a whole index."""

log = structlog.get_logger()


class RefreshRefusedError(Exception):
    """A new index that cannot be true."""


async def build(settings: Settings, previous: Index | None, clock: Clock, progress: Progress) -> Index:
    """Read a new index from the upstream. Raises UpstreamError, or TimeoutError after the time that the settings give."""
    origins = settings.upstreams.origins
    async with asyncio.timeout(settings.refresh_timeout_s), new_client(origins) as client:
        fetcher = Fetcher(client, origins, AT_ONCE)
        now = clock.now().replace(microsecond=0)  # what is written is the same for the same second
        return await SOURCES[settings.source](fetcher, settings.upstreams, previous, now, progress)


async def refresh(settings: Settings, store: IndexStore, clock: Clock, progress: Progress) -> RefreshOutcome:
    """Replace the index that is served by a new one, or say why not."""
    previous = store.loaded.index if store.loaded else None
    try:
        index = await build(settings, previous, clock, progress)
        check_plausible(index, previous)
        await asyncio.to_thread(store.replace, index)
    except (UpstreamError, RefreshRefusedError, OSError) as error:
        message = str(error) or f"not finished within {settings.refresh_timeout_s} s"
        store.last_refresh = RefreshOutcome(clock.now(), message)
        log.warning("refresh_failed", error=message)
    except Exception as error:
        # A fault of ours must not end the scheduler's job either; the traceback goes to the log.
        store.last_refresh = RefreshOutcome(clock.now(), f"{type(error).__name__}: {error}")
        log.exception("refresh_failed")
    else:
        store.last_refresh = RefreshOutcome(clock.now())
        log.info("refresh_done", packages=len(index.facts.packages), stale=len(index.stale))
    return store.last_refresh


def check_plausible(index: Index, previous: Index | None) -> None:
    """Raise RefreshRefusedError for an index that lost too many of the projects of the one before, or all of them.

    A seed is old by design, and is no measure.
    """
    kept = {package.key for package in index.facts.packages}
    if not kept:
        raise RefreshRefusedError("The upstream lists no project that can be read; the index before stays.")
    if previous is None or previous.origin is Origin.SEED:
        return
    before = {package.key for package in previous.facts.packages}
    vanished = {key for key, stale in index.stale.items() if stale.has_vanished and key not in previous.stale}
    lost = (before - kept) | (vanished & before)
    if len(lost) > MOST_THAT_MAY_VANISH * len(before):
        raise RefreshRefusedError(
            f"The upstream lacks {len(lost)} of {len(before)} projects that were there before; the index before stays."
        )
