"""What the aggregation does by itself: publish weeks whose time has come, delete what is too old."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.exc import SQLAlchemyError

from aggregation.clock import Clock
from aggregation.compute import CountingError
from aggregation.jobs import run_job
from aggregation.publish import JOB, Outcome, due_weeks, publish_week
from aggregation.retention import overdue, purge, put_in_order
from aggregation.standing import PURGE, standing, weeks_about_to_be_lost
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.raw import RawStore

log = structlog.get_logger()

RETRY_AFTER = timedelta(seconds=60)
STOPPED_WITHIN_S = 5.0
KEPT_RECORD = timedelta(days=90)
"""So long the record of runs goes back."""
DAY_S = 86_400
INTERVAL_S = 900
"""A quarter of an hour: a missed run is caught up by the next, because both jobs look at what is due."""


class JobScheduler(AsyncIOScheduler):  # type: ignore[misc]
    """Runs jobs in the event loop. ``runs``: those under way."""

    def __init__(self) -> None:
        super().__init__(timezone="UTC")
        self.runs: set[asyncio.Task[object]] = set()

    async def stop(self) -> None:
        """Begin no job any more, cancel what runs, and wait until it has ended, for up to `STOPPED_WITHIN_S`.

        An event loop that ends before would cancel it once more, while its connection is being closed: with aiosqlite that
        never comes to an end.
        """
        self.shutdown(wait=False)
        await asyncio.sleep(0)  # the loop does that with its next turn, in which a job may still begin
        runs = set(self.runs)
        if runs:
            await asyncio.wait(runs, timeout=STOPPED_WITHIN_S)


def register(
    scheduler: JobScheduler,
    raw: RawStore,
    aggregate: AggregateStore,
    clock: Clock,
    lock_folder: Path,
) -> None:
    """Add the jobs of the aggregation to a scheduler, the first run at once."""

    async def publish() -> str | None:
        trouble: list[str] = []
        for week in await due_weeks(raw, aggregate, clock.now()):
            try:
                publication = await publish_week(raw, aggregate, week, clock.now())
            except (CountingError, SQLAlchemyError, OSError) as error:
                log.exception("week_not_published", week=week)
                trouble.append(f"{week}: {type(error).__name__}: {error}")  # and on with the next
                continue
            if publication.outcome is Outcome.UNREADABLE:
                trouble.append(f"{publication.left_out} reports of {week} can't be read by this version: a newer one took them")
            log.info("week_due", week=week, outcome=publication.outcome, cells=publication.cells, left_out=publication.left_out)
        for sentence in weeks_about_to_be_lost(await standing(raw, aggregate, clock.now())):
            log.warning("week_about_to_be_lost", explanation=sentence)
        return "; ".join(trouble) or None

    async def purge_old() -> str | None:
        if deleted := await purge(raw, clock.now()):
            log.info("raw_reports_purged", reports=deleted)
        await aggregate.forget_job_runs(clock.now() - KEPT_RECORD)
        if late := await overdue(raw, clock.now()):
            return f"raw reports of {', '.join(late)} are still there"
        return None

    async def order() -> str | None:
        await put_in_order(raw, clock.now())
        return None

    for name, work, seconds in ((JOB, publish, INTERVAL_S), (PURGE, purge_old, INTERVAL_S), ("order", order, DAY_S)):
        add(scheduler, name, work, aggregate, clock, lock_folder, seconds=seconds)


def add(
    scheduler: JobScheduler,
    name: str,
    work: Callable[[], Awaitable[str | None]],
    aggregate: AggregateStore,
    clock: Clock,
    lock_folder: Path,
    *,
    seconds: int,
) -> None:
    """Schedule ``work`` every ``seconds``, the first time at once, never twice at the same time."""

    async def run() -> None:
        this = asyncio.current_task()
        assert this is not None
        scheduler.runs.add(this)
        this.add_done_callback(scheduler.runs.discard)
        try:
            await run_job(aggregate, name, work, clock.now, lock_folder)
        except asyncio.CancelledError:
            log.info("job_stopped", job=name)  # with its process: the record says so, and there is nobody to tell
        except (SQLAlchemyError, OSError) as error:
            # The store of the locks is away. Not a whole interval later: the job is still due.
            log.error("job_not_run", job=name, error=type(error).__name__)
            scheduler.modify_job(name, next_run_time=datetime.now(UTC) + RETRY_AFTER)

    scheduler.add_job(
        run,
        "interval",
        seconds=seconds,
        jitter=min(60, seconds // 2),
        id=name,
        next_run_time=datetime.now(UTC),
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,  # a loop that was busy for a second must not drop a run
    )
