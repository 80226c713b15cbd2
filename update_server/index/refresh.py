"""Refresh of the index: read everything, check plausibility, replace the index.

If an upstream fails, the last good index stays.
"""

import asyncio

import structlog

from aggregation.clock import Clock
from update_server.index.snapshot import Index, Origin
from update_server.index.sources import napari_index, pypi
from update_server.index.sources.fetching import Fetcher, UpstreamError, new_client
from update_server.index.sources.projects import Progress
from update_server.index.store import IndexStore, RefreshOutcome
from update_server.settings import Settings

MAX_CONCURRENT_REQUESTS = 16
"""Maximum number of concurrent requests."""
MAX_LOST_SHARE = 0.05
"""Share of projects that may disappear in one refresh; more means that the upstream is broken."""

SOURCES = {"napari-index": napari_index.read_index, "pypi": pypi.read_index}

log = structlog.get_logger()


async def build(settings: Settings, previous: Index | None, clock: Clock, progress: Progress) -> Index:
    """Read and check a new index. Raises UpstreamError."""
    origins = settings.upstreams.origins
    try:
        async with asyncio.timeout(settings.refresh_timeout_s), new_client(origins) as client:
            fetcher = Fetcher(client, origins, MAX_CONCURRENT_REQUESTS)
            now = clock.now().replace(microsecond=0)  # reproducible output within a second
            index = await SOURCES[settings.source](fetcher, settings.upstreams, previous, now, progress)
    except TimeoutError as error:
        raise UpstreamError(f"not finished within {settings.refresh_timeout_s} s") from error
    check_plausible(index, previous)
    return index


async def refresh(settings: Settings, store: IndexStore, clock: Clock, progress: Progress) -> RefreshOutcome:
    """Refresh the index of ``store``. Never raises: the outcome has the error."""
    previous = store.loaded.index if store.loaded else None
    try:
        index = await build(settings, previous, clock, progress)
        await asyncio.to_thread(store.replace, index)
    except (UpstreamError, OSError) as error:
        store.last_refresh = RefreshOutcome(clock.now(), str(error))
        log.warning("refresh_failed", error=str(error))
    except Exception as error:
        # A bug must not stop the scheduled job.
        store.last_refresh = RefreshOutcome(clock.now(), f"{type(error).__name__}: {error}")
        log.exception("refresh_failed")
    else:
        store.last_refresh = RefreshOutcome(clock.now())
        log.info("refresh_done", packages=len(index.facts.packages), stale=len(index.stale))
    return store.last_refresh


def check_plausible(index: Index, previous: Index | None) -> None:
    """Raise UpstreamError if too many projects disappeared. A seed is too old for a comparison."""
    kept = {package.key for package in index.facts.packages}
    if not kept:
        raise UpstreamError("The upstream lists no readable project. The previous index stays.")
    if previous is None or previous.origin is Origin.SEED:
        return
    before = {package.key for package in previous.facts.packages}
    vanished = {key for key, stale in index.stale.items() if stale.has_vanished and key not in previous.stale}
    lost = (before - kept) | (vanished & before)
    if len(lost) > MAX_LOST_SHARE * len(before):
        raise UpstreamError(f"{len(lost)} of {len(before)} projects are missing upstream. The previous index stays.")
