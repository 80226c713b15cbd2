"""What must go, and when: raw weeks, 60 days after they began."""

from datetime import datetime, timedelta

from napari_telemetry.weeks import closes_at, end_of, start_of, week_of

from aggregation.stores.raw import RawStore

RETENTION = timedelta(days=60)
AHEAD = timedelta(hours=1)
WARNED_AHEAD = timedelta(days=7)
"""So long before raw reports go, whoever runs the service is told of a week that is not published yet."""


def oldest_kept(now: datetime) -> str:
    """Return the oldest week of which raw reports may still be there at ``now``."""
    week = week_of(now - RETENTION)
    return week if start_of(week) + RETENTION > now else week_of(start_of(week) + timedelta(days=7))


async def put_in_order(raw: RawStore, now: datetime) -> list[str]:
    """Let nothing tell any more in which order the reports of weeks that are over came; return the weeks.

    While a week takes reports, and for the day after: later nothing changes.
    """
    weeks = [week for week in await raw.weeks() if end_of(week) <= now < closes_at(week) + timedelta(days=2)]
    for week in weeks:
        await raw.put_in_order(week)
    return weeks


def oldest_after_purge(now: datetime) -> str:
    """Return the oldest week that a purge at ``now`` leaves.

    It takes what will have to be gone within the hour, so that nothing is ever older than promised however late a run is.
    """
    return oldest_kept(now + AHEAD)


async def purge(raw: RawStore, now: datetime) -> int:
    """Delete the raw reports whose time is over; return how many there were.

    It waits for nothing, not even for an aggregation that failed: the promise is to the people, not to the statistics.
    Raises SQLAlchemyError.
    """
    return await raw.delete_before(oldest_after_purge(now))


async def overdue(raw: RawStore, now: datetime) -> list[str]:
    """Return the weeks of which there are raw reports though their time is over. There should never be one."""
    oldest = oldest_kept(now)
    return [week for week in await raw.weeks() if week < oldest]
