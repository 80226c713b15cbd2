"""The jobs of the aggregation: publish weeks after they close, and delete expired reports."""

from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from aggregation.clock import Clock
from aggregation.compute import CountingError
from aggregation.jobs import JobScheduler
from aggregation.publish import JOB, Outcome, publish_week
from aggregation.status import PURGE, due_weeks, overdue, purge, risk_warnings, scrub_arrival_order, service_status
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.raw import RawStore

RECORD_RETENTION = timedelta(days=90)
DAY_S = 86_400
INTERVAL_S = 900
"""Seconds between runs. A run handles everything that is due, so it makes up for a missed one."""

log = structlog.get_logger()


def register(scheduler: JobScheduler, raw: RawStore, aggregate: AggregateStore, clock: Clock) -> None:
    """Add the jobs of the aggregation to a scheduler."""

    async def publish() -> str | None:
        trouble: list[str] = []
        for week in await due_weeks(raw, aggregate, clock.now()):
            try:
                publication = await publish_week(raw, aggregate, week, clock.now())
            except (CountingError, SQLAlchemyError, OSError) as error:
                log.exception("week_not_published", week=week)
                trouble.append(f"{week}: {type(error).__name__}: {error}")
                continue  # with the next week
            if publication.outcome is Outcome.UNREADABLE:
                trouble.append(f"{publication.left_out} reports of {week} can't be read: a newer version stored them")
            log.info("week_due", week=week, outcome=publication.outcome, cells=publication.cells, left_out=publication.left_out)
        for sentence in risk_warnings(await service_status(raw, aggregate, clock.now())):
            log.warning("week_about_to_be_lost", explanation=sentence)
        return "; ".join(trouble) or None

    async def purge_old() -> str | None:
        if deleted := await purge(raw, clock.now()):
            log.info("raw_reports_purged", reports=deleted)
        await aggregate.delete_job_runs(clock.now() - RECORD_RETENTION)
        late = await overdue(raw, clock.now())
        return f"raw reports of {', '.join(late)} are still there" if late else None

    async def order() -> None:
        await scrub_arrival_order(raw, clock.now())

    scheduler.add(JOB, publish, INTERVAL_S)
    scheduler.add(PURGE, purge_old, INTERVAL_S)
    scheduler.add("order", order, DAY_S)
