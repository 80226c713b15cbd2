"""What must go, and when: raw weeks, 60 days after they began."""

from __future__ import annotations

from datetime import datetime, timedelta

from napari_update_hook.weeks import start_of, week_of

from aggregation.stores.raw import RawStore

RETENTION = timedelta(days=60)


def oldest_kept(now: datetime) -> str:
    """Return the oldest week of which raw reports may still be there at ``now``."""
    week = week_of(now - RETENTION)
    return week if start_of(week) + RETENTION > now else week_of(start_of(week) + timedelta(days=7))


async def purge(raw: RawStore, now: datetime) -> int:
    """Delete the raw reports whose time is over; return how many there were.

    It waits for nothing, not even for an aggregation that failed: the promise is to the people, not to the statistics.
    """
    return await raw.delete_before(oldest_kept(now))
