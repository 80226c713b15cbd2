"""How things stand: which weeks wait, which are about to be lost, what is older than promised, how the jobs do.

Everything here is for the operator. What of it may be read in public, at ``/health/ready``, is which jobs fail and whether a
promise is broken. No week is named there: that one waits to be published would tell that somebody took part in it.
"""

from datetime import datetime, timedelta

from msgspec import Struct
from napari_telemetry.weeks import published_from, start_of

from aggregation.retention import AHEAD, RETENTION, WARNED_AHEAD, oldest_kept
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.aggregate_tables import JobRun
from aggregation.stores.raw import RawStore

PURGE = "purge"
WAS_STOPPED = "was stopped"
"""What the record says of a run that ended with its process, as when that is started anew: no failure."""
OVERDUE_AFTER = timedelta(hours=1)
"""A purge that did not go well for so long is no late one any more."""


class WeekAtRisk(Struct, frozen=True):
    """A week that is not published, and when its raw reports go."""

    week: str
    lost_at: datetime


class Standing(Struct, frozen=True):
    """Weeks in order. ``due``: could be published and are not. ``overdue``: their raw reports should be gone.

    ``raw_weeks`` and what follows from them are None where this process can't see which weeks have reports.
    """

    published: list[str]
    raw_weeks: list[str] | None
    due: list[str] | None
    at_risk: list[WeekAtRisk] | None
    overdue: list[str] | None
    jobs: list[JobRun]
    good_jobs: list[JobRun]


async def standing(raw: RawStore | None, aggregate: AggregateStore, now: datetime) -> Standing:
    """Return how things stand at ``now``. Raises SQLAlchemyError or OSError where a store is away."""
    published = await aggregate.published_weeks()
    jobs, good_jobs = await aggregate.last_job_runs(), await aggregate.last_good_job_runs()
    if raw is None:
        return Standing(published, None, None, None, None, jobs, good_jobs)
    weeks = await raw.weeks()
    out, oldest = set(published), oldest_kept(now)
    due = [week for week in weeks if oldest <= week and published_from(week) <= now and week not in out]
    goes = {week: start_of(week) + RETENTION - AHEAD for week in due}
    at_risk = [WeekAtRisk(week, at) for week, at in goes.items() if at - now <= WARNED_AHEAD]
    return Standing(published, weeks, due, at_risk, [week for week in weeks if week < oldest], jobs, good_jobs)


def broken_promises(state: Standing, now: datetime, *, keeps_reports: bool) -> list[str]:
    """Return what must not be, in sentences: raw reports that are older than promised.

    ``keeps_reports``: whether this process knows of a raw store; another may, and then a purge is on record. Where the weeks
    can't be seen, that record tells.
    """
    if not keeps_reports and not any(run.job == PURGE for run in state.jobs):
        return []
    if state.overdue is not None:
        if not state.overdue:
            return []
        return [
            f"There are raw reports that are older than {RETENTION.days} days. `python -m aggregation status` names the weeks, "
            "and says why the job did not delete them; `purge` does."
        ]
    last_good = max((run.ended_at for run in state.good_jobs if run.job == PURGE and run.ended_at), default=None)
    if last_good is None or now - last_good > OVERDUE_AFTER:
        since = f"since {last_good:%Y-%m-%d %H:%M} UTC" if last_good else "yet"
        return [f"No purge of raw reports went well {since}: is `update-server scheduler` running?"]
    return []


def weeks_about_to_be_lost(state: Standing) -> list[str]:
    """Return which weeks will be lost unless somebody acts, in sentences, for the operator alone."""
    return [
        f"{risk.week} is not published, and its raw reports go on {risk.lost_at:%Y-%m-%d %H:%M} UTC: after that its numbers "
        "are lost. Run `python -m aggregation run`."
        for risk in state.at_risk or ()
    ]


def failing_jobs(state: Standing) -> list[str]:
    """Return which jobs failed the last time, in sentences without the reason."""
    return [
        f"The job {run.job} failed on {run.ended_at:%Y-%m-%d %H:%M} UTC; `python -m aggregation status` says why."
        for run in state.jobs
        if run.error and run.ended_at and run.error != WAS_STOPPED
    ]
