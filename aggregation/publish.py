"""Publish a week once, after it has closed."""

import time
from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from napari_telemetry.weeks import publishable_from

from aggregation import __version__
from aggregation.catalogue import CATALOGUE, Entry, catalogue_hash
from aggregation.compute import Progress, count_week, public_cells
from aggregation.status import oldest_kept
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.aggregate_tables import AggregationRun
from aggregation.stores.raw import RawStore

JOB = "publish"
"""Name of the job and its lock: one process publishes at a time."""


class Outcome(StrEnum):
    PUBLISHED = "published"
    ALREADY = "already published"
    TOO_EARLY = "too early"
    TOO_LATE = "too late"
    NO_REPORTS = "no reports"
    UNREADABLE = "not readable by this version"


class Publication(Struct, frozen=True):
    """Result of publishing a week. ``cells``, ``reports``, ``left_out``: 0 unless this call published it.

    For an unreadable week, ``left_out`` is the number of unreadable reports out of ``reports``.
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
    """Publish ``week`` if it is due and unpublished. Raises InvalidWeekError and CountingError.

    All cells are inserted in one transaction, so a killed process leaves no partial week.
    """
    if now < publishable_from(week):
        return Publication(week, Outcome.TOO_EARLY, possible_from=publishable_from(week))
    if week in await aggregate.published_weeks():
        return Publication(week, Outcome.ALREADY)
    if week < oldest_kept(now):
        return Publication(week, Outcome.TOO_LATE)
    started = time.monotonic()
    counts = await count_week(raw, week, catalogue, progress)
    if not counts.reports:
        # Publishing is final, so leave a week without reports unpublished: they may have been lost.
        return Publication(week, Outcome.NO_REPORTS)
    if counts.newer or counts.left_out == counts.reports:
        # A newer version of the service stored them. Without them, the numbers would be permanently wrong.
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
