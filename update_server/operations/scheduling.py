"""Schedule of all jobs: index refresh, downloads, and the jobs of the aggregation."""

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from aggregation.jobs import JobScheduler
from aggregation.schedule import register
from update_server.index.downloads import REFRESH_INTERVAL_S, refresh_downloads
from update_server.index.progress import show_progress
from update_server.index.refresh import refresh
from update_server.operations.health import status_of
from update_server.services import Services

SAMPLING_INTERVAL_S = 30

log = structlog.get_logger()


def make_scheduler(services: Services) -> JobScheduler:
    settings = services.settings
    scheduler = JobScheduler(services.aggregate, services.clock, settings.data)

    async def refresh_index() -> str | None:
        with show_progress() as progress:
            outcome = await refresh(settings, services.index, services.clock, progress)
        if outcome.error:  # retry soon, because the network may not be up yet
            scheduler.retry("refresh", timedelta(seconds=settings.refresh_retry_s))
        return outcome.error

    async def downloads() -> None:
        await refresh_downloads(settings, services.index, services.clock.now())

    scheduler.add("refresh", refresh_index, settings.refresh_interval_s, for_folder=True)
    if settings.downloads:
        scheduler.add("downloads", downloads, REFRESH_INTERVAL_S, for_folder=True)
    if services.raw is not None:
        register(scheduler, services.raw, services.aggregate, services.clock)
    return scheduler


async def watch_status(services: Services) -> None:
    """Update the metrics about weeks and jobs regularly."""
    while True:
        try:
            services.metrics.status = await status_of(services)
            services.metrics.last_publication = next(iter(await services.aggregate.last_aggregation_runs(1)), None)
        except (SQLAlchemyError, OSError) as error:
            log.warning("standing_not_read", error=type(error).__name__)
        await asyncio.sleep(SAMPLING_INTERVAL_S)


async def watch_snapshot(services: Services) -> None:
    """Load each index that another process saves to the same folder."""
    while True:
        try:
            await asyncio.to_thread(services.index.load_if_replaced)
        except Exception:
            log.exception("snapshot_not_watched")  # a dead watcher would go unnoticed
        await asyncio.sleep(SAMPLING_INTERVAL_S)
