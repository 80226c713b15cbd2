"""All jobs of the service on one scheduler: the refresh of the index, and those that the aggregation registers."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from aggregation import schedule
from update_server.index.downloads import EVERY_S, refresh_downloads
from update_server.index.refresh import refresh
from update_server.operations.health import standing_of
from update_server.operations.progress import shown_progress
from update_server.services import Services

SECONDS_BETWEEN_LOOKS = 30

log = structlog.get_logger()


def make_scheduler(services: Services) -> schedule.JobScheduler:
    """Return a scheduler with every job, not started yet."""
    scheduler = schedule.JobScheduler()
    settings = services.settings
    retry_after = timedelta(seconds=settings.refresh_retry_s)

    async def refresh_index() -> str | None:
        with shown_progress() as progress:
            outcome = await refresh(settings, services.index, services.clock, progress)
        if outcome.error:
            # Not two hours later: a service that starts before its network recovers by itself soon.
            scheduler.modify_job("refresh", next_run_time=datetime.now(UTC) + retry_after)
        return outcome.error

    schedule.add(
        scheduler,
        "refresh",
        refresh_index,
        services.jobs_aggregate,
        services.clock,
        settings.data,
        seconds=settings.refresh_interval_s,
    )
    if settings.downloads:

        async def downloads() -> None:
            await refresh_downloads(settings, services.index, services.clock.now())

        schedule.add(
            scheduler,
            "downloads",
            downloads,
            services.jobs_aggregate,
            services.clock,
            settings.data,
            seconds=EVERY_S,
        )
    if services.jobs_raw is not None:
        schedule.register(scheduler, services.jobs_raw, services.jobs_aggregate, services.clock, settings.data)
    return scheduler


async def watch_standing(services: Services) -> None:
    """Show how weeks and jobs stand in the metrics, every half minute, for ever."""
    while True:
        try:
            services.metrics.show_standing(await standing_of(services), await services.aggregate.job_counts())
            services.metrics.show_publication(next(iter(await services.aggregate.last_aggregation_runs(1)), None))
        except (SQLAlchemyError, OSError) as error:
            log.warning("standing_not_read", error=type(error).__name__)
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


async def watch_snapshot(services: Services) -> None:
    """Serve what another process refreshed into the same folder: look every half minute, for ever."""
    while True:
        try:
            await asyncio.to_thread(services.index.load_if_replaced)
        except Exception:
            log.exception("snapshot_not_watched")  # a dead watcher would go unnoticed
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
