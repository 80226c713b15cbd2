"""Publishing a week: once, when it has closed, and never again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from napari_update_hook.weeks import published_from

from aggregation import __version__
from aggregation.catalogue import CATALOGUE, Entry, catalogue_hash
from aggregation.compute import cells_of, count_reports
from aggregation.stores.aggregate import AggregateStore, AggregationRun, Cell
from aggregation.stores.raw import RawStore


class Outcome(StrEnum):
    """What came of asking for a week to be published."""

    PUBLISHED = "published"
    ALREADY = "already published"
    TOO_EARLY = "too early"
    NO_REPORTS = "no reports"


class Publication(Struct, frozen=True):
    """What came of asking; ``cells`` and ``reports`` where this run published it, ``possible_from`` where it is too early."""

    week: str
    outcome: Outcome
    cells: int = 0
    reports: int = 0
    possible_from: datetime | None = None


async def publish_week(
    raw: RawStore,
    aggregate: AggregateStore,
    week: str,
    now: datetime,
    *,
    catalogue: tuple[Entry, ...] = CATALOGUE,
    progress: Callable[[Iterable[Entry]], Iterable[Entry]] = iter,
) -> Publication:
    """Compute the whole catalogue for ``week`` and publish it, if its time has come and nobody has.

    The reports are read as one consistent state, and all cells come out in one transaction: a kill leaves no half week.
    ``progress`` wraps the iteration over the entries. Raises InvalidWeekError.
    """
    possible_from = published_from(week)
    if now < possible_from:
        return Publication(week, Outcome.TOO_EARLY, possible_from=possible_from)
    if await aggregate.is_published(week):
        return Publication(week, Outcome.ALREADY)
    started = time.monotonic()
    cells: list[Cell] = []
    consistent = raw.engine
    if consistent.dialect.name == "postgresql":
        consistent = consistent.execution_options(isolation_level="REPEATABLE READ")
    async with consistent.begin() as connection:
        reports = await count_reports(connection, week)
        if not reports:
            # Publishing is for ever: a week that nobody took part in, or whose raw reports are gone, is left as it is.
            return Publication(week, Outcome.NO_REPORTS)
        for entry in progress(catalogue):
            cells += await cells_of(connection, entry, week)
    run = AggregationRun(
        week=week,
        ended_at=now,
        duration_s=time.monotonic() - started,
        reports=reports,
        cells=len(cells),
        catalogue_hash=catalogue_hash(),
        code_version=__version__,
    )
    if not await aggregate.publish(week, cells, run, now):
        return Publication(week, Outcome.ALREADY)
    return Publication(week, Outcome.PUBLISHED, len(cells), reports)


async def due_weeks(raw: RawStore, aggregate: AggregateStore, now: datetime) -> list[str]:
    """Return the weeks with reports that may be published at ``now`` and are not yet."""
    published = set(await aggregate.published_weeks())
    return [week for week in await raw.weeks() if published_from(week) <= now and week not in published]
