"""The aggregate store: public numbers, which weeks they are of, how they came about, and the record of jobs."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncEngine

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
    in_utc,
)
from aggregation.stores.engines import WRITES

CELLS_A_STATEMENT = 1000


class PublicRow(Struct, frozen=True):
    """One public number as it is shown: ``values`` by dimension, ``people`` rounded down."""

    week: str
    values: dict[str, str]
    people: int


class Page(Struct, frozen=True):
    """Rows of an entry, and whether there are more behind them."""

    rows: list[PublicRow]
    has_more: bool


class JobCount(Struct, frozen=True):
    """How often a job ran and failed."""

    job: str
    runs: int
    failures: int


class AggregateStore:
    """The public numbers."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def published_weeks(self) -> list[str]:
        """Return the weeks that were published, in order. See `public_weeks`."""
        week = PUBLISHED_WEEKS.c.week
        async with self.engine.connect() as connection:
            return list((await connection.execute(sa.select(week).order_by(week))).scalars())

    async def public_weeks(self, since: str = "", until: str = "9999") -> list[str]:
        """Return the published weeks that may be named in public: those with a number, or with one that was retracted.

        A week without a number is not named, whether nobody took part in it or nine people did.
        """
        week = PUBLISHED_WEEKS.c.week
        has_number = sa.exists().where(CELLS.c.week == week)
        had_number = sa.exists().where(RETRACTIONS.c.first_week <= week, RETRACTIONS.c.last_week >= week)
        query = sa.select(week).where(week >= since, week <= until, has_number | had_number).order_by(week)
        async with self.engine.connect() as connection:
            return list((await connection.execute(query)).scalars())

    async def rows(
        self,
        entry: Entry,
        fixed: Mapping[str, str],
        *,
        since: str = "",
        until: str = "9999",
        offset: int = 0,
        limit: int = 1000,
        any_of: Mapping[str, Collection[str]] | None = None,
    ) -> Page:
        """Return public numbers of an entry, by week and values.

        ``fixed``: the values that some of its dimensions shall have; ``any_of``: of some others, which ones are wanted.
        ``since``, ``until``: weeks, both included.
        """
        columns = _columns_of(entry)
        query = (
            sa.select(CELLS)
            .where(*cells_of(entry, fixed, since, until))
            .where(*(columns[name].in_(values) for name, values in (any_of or {}).items()))
            .order_by(CELLS.c.week, *VALUES)
            .offset(offset)
            .limit(limit + 1)
        )
        async with self.engine.connect() as connection:
            found = (await connection.execute(query)).mappings().all()
        rows = [
            PublicRow(row["week"], {name: row[column.name] for name, column in columns.items()}, row["people"])
            for row in found[:limit]
        ]
        return Page(rows, len(found) > limit)

    async def all_rows(
        self, entry: Entry, fixed: Mapping[str, str], *, since: str = "", until: str = "9999"
    ) -> list[PublicRow]:
        """Return all public numbers of an entry, as `rows` does."""
        return (await self.rows(entry, fixed, since=since, until=until, limit=2**31 - 2)).rows

    async def largest(
        self, entry: Entry, fixed: Mapping[str, str], *, since: str = "", until: str = "9999"
    ) -> list[tuple[dict[str, str], int]]:
        """Return each combination of values with the largest number that it had in any of the weeks, the largest first."""
        columns = _columns_of(entry)
        people = sa.func.max(CELLS.c.people).label("people")
        query = (
            sa.select(*VALUES, people)
            .where(*cells_of(entry, fixed, since, until))
            .group_by(*VALUES)
            .order_by(people.desc(), *VALUES)
        )
        async with self.engine.connect() as connection:
            found = (await connection.execute(query)).mappings().all()
        return [({name: row[column.name] for name, column in columns.items()}, row["people"]) for row in found]

    async def revision(self) -> tuple[str, ...]:
        """Return a token that changes whenever anything does that the public can see."""
        counted = [
            sa.select(sa.func.count()).select_from(table).scalar_subquery()
            for table in (PUBLISHED_WEEKS, RETRACTIONS, INSPECTIONS, CERTIFICATES)
        ]
        newest = sa.select(sa.func.max(PUBLISHED_WEEKS.c.published_at)).scalar_subquery()
        async with self.engine.connect() as connection:
            return tuple(str(value) for value in (await connection.execute(sa.select(newest, *counted))).one())

    async def values_of(self, entry: Entry) -> list[str]:
        """Return the values of an entry's first dimension that have a public number, in order."""
        query = sa.select(CELLS.c.value_1).where(CELLS.c.entry == entry.id).distinct().order_by(CELLS.c.value_1)
        async with self.engine.connect() as connection:
            return list((await connection.execute(query)).scalars())

    async def publish(self, week: str, cells: Iterable[Mapping[str, Any]], run: AggregationRun, published_at: datetime) -> bool:
        """Publish a week in one transaction; tell whether it was this call that did so, and not an earlier one.

        ``cells``: rows of the table of cells; they are taken some at a time.
        """
        async with self.engine.execution_options(**WRITES).begin() as connection:
            if await connection.scalar(sa.select(PUBLISHED_WEEKS.c.week).where(PUBLISHED_WEEKS.c.week == week)) is not None:
                return False
            await connection.execute(sa.insert(PUBLISHED_WEEKS).values(week=week, published_at=published_at))
            for some in _some_at_a_time(cells):
                await connection.execute(sa.insert(CELLS), some)
            await connection.execute(sa.insert(AGGREGATION_RUNS), run.model_dump(exclude={"id"}))
        return True

    async def job_started(self, job: str, now: datetime) -> int:
        """Write down that a job begins; return the number of this run.

        For who holds the job's lock: then whatever the record says is still running, was killed.
        """
        open_runs = (JOB_RUNS.c.job == job) & JOB_RUNS.c.ended_at.is_(None)
        async with self.engine.execution_options(**WRITES).begin() as connection:
            await connection.execute(sa.update(JOB_RUNS).where(open_runs).values(ended_at=now, error="was killed"))
            result = await connection.execute(sa.insert(JOB_RUNS).values(job=job, started_at=now).returning(JOB_RUNS.c.id))
            return int(result.scalar_one())

    async def job_ended(self, run: int, now: datetime, error: str | None) -> None:
        """Write down how a run ended."""
        async with self.engine.execution_options(**WRITES).begin() as connection:
            await connection.execute(sa.update(JOB_RUNS).where(JOB_RUNS.c.id == run).values(ended_at=now, error=error))

    async def last_job_runs(self) -> list[JobRun]:
        """Return the last run of each job, by name."""
        return await self._job_runs(sa.true())

    async def last_good_job_runs(self) -> list[JobRun]:
        """Return the last run of each job that went well, by name."""
        return await self._job_runs(JOB_RUNS.c.ended_at.is_not(None) & JOB_RUNS.c.error.is_(None))

    async def failed_job_runs(self, limit: int = 10) -> list[JobRun]:
        """Return the last runs that failed, newest first."""
        query = sa.select(JOB_RUNS).where(JOB_RUNS.c.error.is_not(None)).order_by(JOB_RUNS.c.id.desc()).limit(limit)
        async with self.engine.connect() as connection:
            return [JobRun(**in_utc(row)) for row in (await connection.execute(query)).mappings()]

    async def job_counts(self) -> list[JobCount]:
        """Return how often each job ran, and how often it failed, in what is kept of the record."""
        failures = sa.func.count(JOB_RUNS.c.error)
        query = sa.select(JOB_RUNS.c.job, sa.func.count(), failures).group_by(JOB_RUNS.c.job).order_by(JOB_RUNS.c.job)
        async with self.engine.connect() as connection:
            return [JobCount(*row) for row in await connection.execute(query)]

    async def forget_job_runs(self, before: datetime) -> None:
        """Delete the record of runs that began before an instant, but for the last of each job."""
        last = sa.select(sa.func.max(JOB_RUNS.c.id)).group_by(JOB_RUNS.c.job)
        old = (JOB_RUNS.c.started_at < before) & JOB_RUNS.c.id.not_in(last)
        async with self.engine.execution_options(**WRITES).begin() as connection:
            await connection.execute(sa.delete(JOB_RUNS).where(old))

    async def last_aggregation_runs(self, limit: int = 20) -> list[AggregationRun]:
        """Return what the last aggregations ran on, newest first."""
        query = sa.select(AGGREGATION_RUNS).order_by(AGGREGATION_RUNS.c.id.desc()).limit(limit)
        async with self.engine.connect() as connection:
            return [AggregationRun(**row) for row in (await connection.execute(query)).mappings()]

    async def _job_runs(self, condition: sa.ColumnElement[bool]) -> list[JobRun]:
        last = sa.select(sa.func.max(JOB_RUNS.c.id)).where(condition).group_by(JOB_RUNS.c.job)
        query = sa.select(JOB_RUNS).where(JOB_RUNS.c.id.in_(last)).order_by(JOB_RUNS.c.job)
        async with self.engine.connect() as connection:
            return [JobRun(**in_utc(row)) for row in (await connection.execute(query)).mappings()]


def _columns_of(entry: Entry) -> dict[str, sa.Column[Any]]:
    """The columns of an entry's values, by the name of their dimension."""
    return dict(zip((dimension.name for dimension in entry.dimensions), VALUES, strict=False))


def cells_of(entry: Entry, fixed: Mapping[str, str], since: str, until: str) -> list[sa.ColumnElement[bool]]:
    """Return conditions for the cells of an entry from week ``since`` to ``until``, both included, with some values fixed."""
    columns = _columns_of(entry)
    wanted = [CELLS.c.entry == entry.id, CELLS.c.week >= since, CELLS.c.week <= until]
    return [*wanted, *(columns[name] == value for name, value in fixed.items())]


def _some_at_a_time(cells: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    remaining = iter(cells)
    while some := list(islice(remaining, CELLS_A_STATEMENT)):
        yield some
