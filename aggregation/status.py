"""Retention of raw reports, and the status of weeks and jobs.

It is all for the operator. ``/health/ready`` reports failing jobs and broken promises, but never names a week: an
unpublished week with reports would reveal that someone took part in it.
"""

from datetime import datetime, timedelta

from msgspec import Struct
from napari_telemetry.weeks import closes_at, end_of, publishable_from, start_of, week_of

from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.aggregate_tables import JobRun
from aggregation.stores.raw import RawStore

RETENTION = timedelta(days=60)
"""Raw reports are deleted this long after their week began."""
PURGE_AHEAD = timedelta(hours=1)
"""The purge also deletes reports that expire within this time, so a late run keeps the promise."""
WARN_BEFORE = timedelta(days=7)
"""How long before deletion to warn about an unpublished week."""
PURGE = "purge"
PURGE_TIMEOUT = timedelta(hours=1)
"""After this long without a success the purge counts as failed, not late."""
WAS_STOPPED = "was stopped"
"""Recorded as the error of a run that ended with its process. It is not a failure."""


def oldest_kept(now: datetime) -> str:
    """Return the oldest week that may have raw reports at ``now``."""
    week = week_of(now - RETENTION)
    return week if start_of(week) + RETENTION > now else week_of(start_of(week) + timedelta(days=7))


def oldest_after_purge(now: datetime) -> str:
    """Return the oldest week that a purge at ``now`` keeps."""
    return oldest_kept(now + PURGE_AHEAD)


async def purge(raw: RawStore, now: datetime) -> int:
    """Delete expired raw reports; return how many.

    It deletes unpublished weeks too: the privacy promise takes precedence over the statistics. Raises SQLAlchemyError.
    """
    return await raw.delete_before(oldest_after_purge(now))


async def overdue(raw: RawStore, now: datetime) -> list[str]:
    """Return the weeks whose raw reports should have been deleted."""
    oldest = oldest_kept(now)
    return [week for week in await raw.weeks() if week < oldest]


async def scrub_arrival_order(raw: RawStore, now: datetime) -> list[str]:
    """Remove traces of arrival order from finished weeks until two days after they close; return the weeks."""
    weeks = [week for week in await raw.weeks() if end_of(week) <= now < closes_at(week) + timedelta(days=2)]
    for week in weeks:
        await raw.scrub_arrival_order(week)
    return weeks


class WeekAtRisk(Struct, frozen=True):
    """An unpublished week, and when its raw reports are deleted."""

    week: str
    lost_at: datetime


class ServiceStatus(Struct, frozen=True):
    """Status of weeks and jobs. ``due``: closed and not published; ``overdue``: with expired raw reports.

    Fields about raw weeks are None if this process can't see which weeks have reports.
    """

    published: list[str]
    raw_weeks: list[str] | None
    due: list[str] | None
    at_risk: list[WeekAtRisk] | None
    overdue: list[str] | None
    jobs: list[JobRun]
    last_successes: list[JobRun]


async def service_status(raw: RawStore | None, aggregate: AggregateStore, now: datetime) -> ServiceStatus:
    """Return the status at ``now``. Raises SQLAlchemyError or OSError if a store is unavailable."""
    published = await aggregate.published_weeks()
    jobs, last_successes = await aggregate.last_job_runs(), await aggregate.last_successful_job_runs()
    if raw is None:
        return ServiceStatus(published, None, None, None, None, jobs, last_successes)
    weeks, due = await raw.weeks(), await due_weeks(raw, aggregate, now)
    lost_at = {week: start_of(week) + RETENTION - PURGE_AHEAD for week in due}
    at_risk = [WeekAtRisk(week, at) for week, at in lost_at.items() if at - now <= WARN_BEFORE]
    return ServiceStatus(published, weeks, due, at_risk, await overdue(raw, now), jobs, last_successes)


async def due_weeks(raw: RawStore, aggregate: AggregateStore, now: datetime, since: str = "") -> list[str]:
    """Return the weeks with reports, from ``since`` on, that can be published at ``now`` and are not yet."""
    published = set(await aggregate.published_weeks())
    first = max(since, oldest_kept(now))
    return [week for week in await raw.weeks() if first <= week and publishable_from(week) <= now and week not in published]


def broken_promises(state: ServiceStatus, now: datetime, *, keeps_reports: bool) -> list[str]:
    """Return a sentence if raw reports are older than promised.

    ``keeps_reports``: whether this process has a raw store. Without one, or if it can't list weeks, the last successful
    purge decides.
    """
    if not keeps_reports and not any(run.job == PURGE for run in state.jobs):
        return []
    if state.overdue is not None:
        if not state.overdue:
            return []
        return [
            f"Some raw reports are older than {RETENTION.days} days. `python -m aggregation status` says which and why; "
            "`purge` deletes them."
        ]
    last_good = max((run.ended_at for run in state.last_successes if run.job == PURGE and run.ended_at), default=None)
    if last_good is None or now - last_good > PURGE_TIMEOUT:
        since = f"since {last_good:%Y-%m-%d %H:%M} UTC" if last_good else "yet"
        return [f"No purge of raw reports has succeeded {since}: is `update-server scheduler` running?"]
    return []


def risk_warnings(state: ServiceStatus) -> list[str]:
    """Return a sentence for each week that will be lost unless someone acts, for the operator only."""
    return [
        f"{risk.week} is not published, and its raw reports are deleted on {risk.lost_at:%Y-%m-%d %H:%M} UTC. "
        "Run `python -m aggregation run`."
        for risk in state.at_risk or ()
    ]


def failing_jobs(state: ServiceStatus) -> list[str]:
    """Return a sentence, without the reason, for each job whose last run failed."""
    return [
        f"The job {run.job} failed on {run.ended_at:%Y-%m-%d %H:%M} UTC; `python -m aggregation status` says why."
        for run in state.jobs
        if run.error and run.ended_at and run.error != WAS_STOPPED
    ]
