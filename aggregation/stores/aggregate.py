"""The aggregate store: public numbers, published weeks, and records of aggregations and jobs."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from aggregation.catalogue import Entry
from aggregation.stores.aggregate_tables import (
    AGGREGATION_RUNS,
    CELLS,
    CERTIFICATES,
    INSPECTIONS,
    JOB_RUNS,
    PUBLISHED_WEEKS,
    RETRACTIONS,
    VALUES,
    AggregationRun,
    JobRun,
)
from aggregation.stores.engines import Queries

CELLS_PER_INSERT = 1000


class PublicRow(Struct, frozen=True):
    """One public number: ``values`` by dimension, ``people`` rounded down."""

    week: str
    values: dict[str, str]
    people: int


class AggregateStore(Queries):
    """Queries on public numbers, weeks, aggregations and jobs."""

    async def published_weeks(self) -> list[str]:
        """Return all published weeks, in order, for internal use; `public_weeks` may be shown to others."""
        return await self.values(sa.select(PUBLISHED_WEEKS.c.week).order_by(PUBLISHED_WEEKS.c.week))

    async def public_weeks(self, since: str = "", until: str = "9999") -> list[str]:
        """Return the published weeks that may be named in public: those with a number, or with a retracted one.

        A week without a number is left out: otherwise nine participants could be told from none.
        """
        week = PUBLISHED_WEEKS.c.week
        has_number = sa.exists().where(CELLS.c.week == week)
        had_number = sa.exists().where(RETRACTIONS.c.first_week <= week, RETRACTIONS.c.last_week >= week)
        return await self.values(sa.select(week).where(week >= since, week <= until, has_number | had_number).order_by(week))

    async def numbers(
        self,
        entry: Entry,
        fixed: Mapping[str, str],
        *,
        since: str = "",
        until: str = "9999",
        offset: int = 0,
        limit: int | None = None,
        any_of: Mapping[str, Collection[str]] | None = None,
    ) -> list[PublicRow]:
        """Return public numbers of an entry, by week and values.

        ``fixed``: values of some of its dimensions; ``any_of``: allowed values of others. ``since``, ``until``: weeks, both
        included.
        """
        columns = _columns_of(entry)
        query = (
            sa.select(CELLS)
            .where(*cells_of(entry, fixed, since, until))
            .where(*(columns[name].in_(values) for name, values in (any_of or {}).items()))
            .order_by(CELLS.c.week, *VALUES)
            .offset(offset)
            .limit(limit)
        )
        return [
            PublicRow(row["week"], {name: row[column.name] for name, column in columns.items()}, row["people"])
            for row in await self.rows(query)
        ]

    async def largest(self, entry: Entry, fixed: Mapping[str, str], *, since: str, until: str) -> list[dict[str, str]]:
        """Return each combination of values, sorted by its largest number in these weeks."""
        columns = _columns_of(entry)
        query = (
            sa.select(*VALUES)
            .where(*cells_of(entry, fixed, since, until))
            .group_by(*VALUES)
            .order_by(sa.func.max(CELLS.c.people).desc(), *VALUES)
        )
        return [{name: row[column.name] for name, column in columns.items()} for row in await self.rows(query)]

    async def revision(self) -> tuple[str, ...]:
        """Return a token that changes whenever anything public changes."""
        counted = [
            sa.select(sa.func.count()).select_from(table).scalar_subquery()
            for table in (PUBLISHED_WEEKS, RETRACTIONS, INSPECTIONS, CERTIFICATES)
        ]
        newest = sa.select(sa.func.max(PUBLISHED_WEEKS.c.published_at)).scalar_subquery()
        (found,) = await self.rows(sa.select(newest, *counted))
        return tuple(str(value) for value in found.values())

    async def values_of(self, entry: Entry) -> list[str]:
        """Return the values of an entry's first dimension, sorted."""
        return await self.values(
            sa.select(CELLS.c.value_1).where(CELLS.c.entry == entry.id).distinct().order_by(CELLS.c.value_1)
        )

    async def publish(self, week: str, cells: Sequence[Mapping[str, Any]], run: AggregationRun, published_at: datetime) -> bool:
        """Publish a week in one transaction. Return False if it was already published.

        ``cells``: rows of the table ``cells``.
        """
        async with self.write_transaction() as connection:
            if await connection.scalar(sa.select(PUBLISHED_WEEKS.c.week).where(PUBLISHED_WEEKS.c.week == week)) is not None:
                return False
            await connection.execute(sa.insert(PUBLISHED_WEEKS).values(week=week, published_at=published_at))
            for start in range(0, len(cells), CELLS_PER_INSERT):
                await connection.execute(sa.insert(CELLS), cells[start : start + CELLS_PER_INSERT])
            await connection.execute(sa.insert(AGGREGATION_RUNS), run.model_dump(exclude={"id"}))
        return True

    async def job_started(self, job: str, now: datetime) -> int:
        """Record the start of a job; return the number of this run.

        The caller holds the job's lock, so a run that is still recorded as running was killed.
        """
        open_runs = (JOB_RUNS.c.job == job) & JOB_RUNS.c.ended_at.is_(None)
        async with self.write_transaction() as connection:
            await connection.execute(sa.update(JOB_RUNS).where(open_runs).values(ended_at=now, error="was killed"))
            result = await connection.execute(sa.insert(JOB_RUNS).values(job=job, started_at=now).returning(JOB_RUNS.c.id))
            return int(result.scalar_one())

    async def job_ended(self, run: int, now: datetime, error: str | None) -> None:
        """Record the end of a run. ``error``: None if it succeeded."""
        await self.write(sa.update(JOB_RUNS).where(JOB_RUNS.c.id == run).values(ended_at=now, error=error))

    async def last_job_runs(self) -> list[JobRun]:
        """Return the last run of each job, sorted by name."""
        return await self._job_runs(sa.true())

    async def last_successful_job_runs(self) -> list[JobRun]:
        """Return the last successful run of each job, sorted by name."""
        return await self._job_runs(JOB_RUNS.c.ended_at.is_not(None) & JOB_RUNS.c.error.is_(None))

    async def failed_job_runs(self) -> list[JobRun]:
        """Return the last ten failed runs, newest first."""
        query = sa.select(JOB_RUNS).where(JOB_RUNS.c.error.is_not(None)).order_by(JOB_RUNS.c.id.desc()).limit(10)
        return [JobRun(**row) for row in await self.rows(query)]

    async def delete_job_runs(self, before: datetime) -> None:
        """Delete records of runs that started before a time, except the last run of each job."""
        last = sa.select(sa.func.max(JOB_RUNS.c.id)).group_by(JOB_RUNS.c.job)
        await self.write(sa.delete(JOB_RUNS).where(JOB_RUNS.c.started_at < before, JOB_RUNS.c.id.not_in(last)))

    async def last_aggregation_runs(self, limit: int = 20) -> list[AggregationRun]:
        """Return the last aggregations, newest first."""
        query = sa.select(AGGREGATION_RUNS).order_by(AGGREGATION_RUNS.c.id.desc()).limit(limit)
        return [AggregationRun(**row) for row in await self.rows(query)]

    async def _job_runs(self, condition: sa.ColumnElement[bool]) -> list[JobRun]:
        last = sa.select(sa.func.max(JOB_RUNS.c.id)).where(condition).group_by(JOB_RUNS.c.job)
        query = sa.select(JOB_RUNS).where(JOB_RUNS.c.id.in_(last)).order_by(JOB_RUNS.c.job)
        return [JobRun(**row) for row in await self.rows(query)]


def _columns_of(entry: Entry) -> dict[str, sa.Column[Any]]:
    """Return the columns of an entry's values by dimension."""
    return dict(zip((dimension.name for dimension in entry.dimensions), VALUES, strict=False))


def cells_of(entry: Entry, fixed: Mapping[str, str], since: str, until: str) -> list[sa.ColumnElement[bool]]:
    """Return conditions for an entry's cells from week ``since`` to ``until``, both included, with ``fixed`` values."""
    columns = _columns_of(entry)
    wanted = [CELLS.c.entry == entry.id, CELLS.c.week >= since, CELLS.c.week <= until]
    return [*wanted, *(columns[name] == value for name, value in fixed.items())]
