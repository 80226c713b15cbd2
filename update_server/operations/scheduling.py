"""All jobs of the service on one scheduler: the refresh of the index, and those that the aggregation registers."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from aggregation import schedule
from update_server.index.downloads import EVERY_S, refresh_downloads
from update_server.index.refresh import refresh
from update_server.index.snapshot import Origin
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
        if await refreshed_by_a_replica(services):
            return None
        with shown_progress() as progress:
            outcome = await refresh(settings, services.index, services.clock, progress)
        if not outcome.error and services.has_replicas:
            await _offer(services)
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
            await refresh_downloads(settings, services.index, services.jobs_aggregate, services.clock.now())

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
    """Serve what another process refreshed: look on disk and in the shared store every half minute, for ever."""
    while True:
        try:
            await take_over(services)
        except Exception:
            log.exception("snapshot_not_watched")  # the next look may do better; an end of looking would go unnoticed
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


async def take_over(services: Services) -> bool:
    """Serve the index of another process, if there is a newer one; tell whether that was so."""
    if await asyncio.to_thread(services.index.load_if_replaced):
        return True
    if not services.has_replicas:
        return False
    loaded = services.index.loaded
    try:
        packed = await services.aggregate.shared("index", loaded.index.facts.as_of if loaded else None)
    except (SQLAlchemyError, OSError) as error:
        log.warning("shared_index_away", error=type(error).__name__)
        return False
    return packed is not None and await asyncio.to_thread(services.index.adopt, packed)


async def refreshed_by_a_replica(services: Services) -> bool:
    """Tell whether another replica offers an index that is not half an interval old: then it is served, and nothing is read."""
    if not services.has_replicas:
        return False
    await take_over(services)
    loaded = services.index.loaded
    if loaded is None or loaded.index.origin is not Origin.SNAPSHOT:
        return False
    age = services.clock.now() - loaded.index.facts.as_of
    return age < timedelta(seconds=services.settings.refresh_interval_s / 2)


async def _offer(services: Services) -> None:
    """Give a new index to the other replicas."""
    loaded = services.index.loaded
    try:
        if loaded is not None:
            packed = await asyncio.to_thread(services.index.packed)
            await services.jobs_aggregate.share("index", loaded.index.facts.as_of, packed)
    except (SQLAlchemyError, OSError) as error:
        log.warning("index_not_shared", error=type(error).__name__)
