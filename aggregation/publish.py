"""Publishing a week: once, when it has closed, and never again."""

import time
from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from napari_telemetry.weeks import published_from

from aggregation import __version__
from aggregation.catalogue import CATALOGUE, Entry, catalogue_hash
from aggregation.compute import Progress, count_week, public_cells
from aggregation.retention import oldest_kept
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.aggregate_tables import AggregationRun
from aggregation.stores.raw import RawStore

JOB = "publish"
"""The job, and the lock, under which weeks are published: one process at a time."""


class Outcome(StrEnum):
    """What came of asking for a week to be published."""

    PUBLISHED = "published"
    ALREADY = "already published"
    TOO_EARLY = "too early"
    TOO_LATE = "too late"
    NO_REPORTS = "no reports"
    UNREADABLE = "not readable by this version"


class Publication(Struct, frozen=True):
    """What came of asking; ``cells``, ``reports`` and ``left_out`` where this run published it, else 0.

    ``possible_from``: where it is too early, when it can be. A week that this version can't read has ``reports`` and how many
    of them it can't read as ``left_out``.
    """

    week: str
    outcome: Outcome
    cells: int = 0
    reports: int = 0
    left_out: int = 0
    possible_from: datetime | None = None


async def publish_week(
    raw: RawStore,
    aggregate: AggregateStore,
    week: str,
    now: datetime,
    *,
    catalogue: tuple[Entry, ...] = CATALOGUE,
    progress: Progress | None = None,
) -> Publication:
    """Compute the whole catalogue for ``week`` and publish it, if its time has come and nobody has.

    The reports are read as one consistent state, and all cells come out in one transaction: a kill leaves no half week.
    Raises InvalidWeekError, and CountingError.
    """
    if now < published_from(week):
        return Publication(week, Outcome.TOO_EARLY, possible_from=published_from(week))
    if week in await aggregate.published_weeks():
        return Publication(week, Outcome.ALREADY)
    if week < oldest_kept(now):
        return Publication(week, Outcome.TOO_LATE)
    started = time.monotonic()
    counts = await count_week(raw, week, catalogue, progress)
    if not counts.reports:
        # Publishing is for ever: a week that nobody took part in, or whose raw reports are gone, is left as it is.
        return Publication(week, Outcome.NO_REPORTS)
    if counts.newer or counts.left_out == counts.reports:
        # A newer version of the service took them: numbers without them would be wrong for ever, and there is time.
        return Publication(week, Outcome.UNREADABLE, 0, counts.reports, counts.newer + counts.left_out)
    cells = list(public_cells(counts, catalogue, week))
    run = AggregationRun(
        week=week,
        ended_at=now,
        duration_s=time.monotonic() - started,
        reports=counts.reports,
        left_out=counts.left_out,
        cells=len(cells),
        hidden=sum(map(len, counts.people.values())) - len(cells),
        catalogue_hash=catalogue_hash(catalogue),
        code_version=__version__,
    )
    if not await aggregate.publish(week, cells, run, now):
        return Publication(week, Outcome.ALREADY)
    return Publication(week, Outcome.PUBLISHED, len(cells), counts.reports, counts.left_out)


async def due_weeks(raw: RawStore, aggregate: AggregateStore, now: datetime, since: str = "") -> list[str]:
    """Return the weeks with reports, from ``since`` on, that may be published at ``now`` and are not yet."""
    published = set(await aggregate.published_weeks())
    first = max(since, oldest_kept(now))
    return [week for week in await raw.weeks() if first <= week and published_from(week) <= now and week not in published]
