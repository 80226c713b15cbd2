"""The aggregate store: public numbers, which weeks they are of, and how they came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from aggregation.catalogue import MOST_DIMENSIONS, Entry
from aggregation.stores.engines import WRITES


class AggregateBase(SQLModel, registry=registry()):
    """The tables of the aggregate store, apart from those of the other."""


class Cell(AggregateBase, table=True):
    """One public number. ``value_1`` to ``value_3`` are those of the entry's dimensions, in its order; the rest is empty."""

    __tablename__ = "cells"
    __table_args__ = {"sqlite_with_rowid": False}

    entry: str = Field(primary_key=True, max_length=64)
    week: str = Field(primary_key=True, max_length=8)
    value_1: str = Field(primary_key=True, max_length=256)
    value_2: str = Field(primary_key=True, max_length=256)
    value_3: str = Field(primary_key=True, max_length=256)
    people: int


class PublishedWeek(AggregateBase, table=True):
    """A week whose numbers are out. They never change."""

    __tablename__ = "published_weeks"

    week: str = Field(primary_key=True, max_length=8)
    published_at: datetime = Field(sa_type=sa.DateTime(timezone=True))


class AggregationRun(AggregateBase, table=True):
    """What an aggregation ran on. For the operator alone: how many reports there were is no public number."""

    __tablename__ = "aggregation_runs"

    id: int | None = Field(default=None, primary_key=True)
    week: str = Field(max_length=8, index=True)
    ended_at: datetime = Field(sa_type=sa.DateTime(timezone=True))
    duration_s: float
    reports: int
    cells: int
    catalogue_hash: str = Field(max_length=64)
    code_version: str = Field(max_length=64)


class JobRun(AggregateBase, table=True):
    """One run of a scheduled job. ``ended_at`` is empty while it runs, ``error`` where it went well."""

    __tablename__ = "job_runs"

    id: int | None = Field(default=None, primary_key=True)
    job: str = Field(max_length=64, index=True)
    started_at: datetime = Field(sa_type=sa.DateTime(timezone=True))
    ended_at: datetime | None = Field(default=None, sa_type=sa.DateTime(timezone=True), nullable=True)
    error: str | None = Field(default=None, sa_type=sa.Text(), nullable=True)


class SharedIndex(AggregateBase, table=True):
    """The newest index snapshot, for replicas that share no disk. There is one row, with the number 1."""

    __tablename__ = "shared_index"

    number: int = Field(default=1, primary_key=True, sa_column_kwargs={"autoincrement": False})
    as_of: datetime = Field(sa_type=sa.DateTime(timezone=True))
    snapshot: bytes = Field(sa_type=sa.LargeBinary)


CELLS: sa.Table = Cell.__table__  # type: ignore[attr-defined]
PUBLISHED_WEEKS: sa.Table = PublishedWeek.__table__  # type: ignore[attr-defined]
AGGREGATION_RUNS: sa.Table = AggregationRun.__table__  # type: ignore[attr-defined]
JOB_RUNS: sa.Table = JobRun.__table__  # type: ignore[attr-defined]
SHARED_INDEX: sa.Table = SharedIndex.__table__  # type: ignore[attr-defined]
VALUES = tuple(CELLS.c[f"value_{number}"] for number in range(1, MOST_DIMENSIONS + 1))


class PublicRow(Struct, frozen=True):
    """One public number as it is shown: ``values`` by dimension, ``people`` rounded down."""

    week: str
    values: dict[str, str]
    people: int


class Page(Struct, frozen=True):
    """Rows of an entry, and whether there are more behind them."""

    rows: list[PublicRow]
    has_more: bool


class AggregateStore:
    """The public numbers."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def published_weeks(self, since: str = "", until: str = "9999") -> list[str]:
        """Return the weeks whose numbers are out, in order, from ``since`` to ``until``, both included."""
        week = PUBLISHED_WEEKS.c.week
        query = sa.select(week).where(week >= since, week <= until).order_by(week)
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
    ) -> Page:
        """Return public numbers of an entry, by week and values.

        ``fixed``: the values that some of its dimensions shall have. ``since``, ``until``: weeks, both included.
        """
        columns = dict(zip((dimension.name for dimension in entry.dimensions), VALUES, strict=False))
        query = (
            sa.select(CELLS)
            .where(CELLS.c.entry == entry.id, CELLS.c.week >= since, CELLS.c.week <= until)
            .where(*(columns[name] == value for name, value in fixed.items()))
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

    async def publish(self, week: str, cells: Sequence[Cell], run: AggregationRun, published_at: datetime) -> bool:
        """Publish a week in one transaction; tell whether it was this call that did so, and not an earlier one."""
        async with self.engine.execution_options(**WRITES).begin() as connection:
            if await _is_published(connection, week):
                return False
            await connection.execute(sa.insert(PUBLISHED_WEEKS).values(week=week, published_at=published_at))
            if cells:
                await connection.execute(sa.insert(CELLS), [cell.model_dump() for cell in cells])
            await connection.execute(sa.insert(AGGREGATION_RUNS), run.model_dump(exclude={"id"}))
        return True

    async def is_published(self, week: str) -> bool:
        """Tell whether the numbers of ``week`` are out."""
        async with self.engine.connect() as connection:
            return await _is_published(connection, week)

    async def share_index(self, as_of: datetime, snapshot: bytes) -> None:
        """Offer a snapshot to the other replicas, in place of the one before."""
        async with self.engine.execution_options(**WRITES).begin() as connection:
            await connection.execute(sa.delete(SHARED_INDEX))
            await connection.execute(sa.insert(SHARED_INDEX).values(number=1, as_of=as_of, snapshot=snapshot))

    async def shared_index(self, newer_than: datetime | None) -> bytes | None:
        """Return the snapshot that a replica offers, or None where there is none, or none newer than ``newer_than``."""
        async with self.engine.connect() as connection:
            as_of = await connection.scalar(sa.select(SHARED_INDEX.c.as_of))
            if as_of is None or (newer_than is not None and _aware(as_of) <= newer_than):
                return None
            snapshot: bytes | None = await connection.scalar(sa.select(SHARED_INDEX.c.snapshot))
            return snapshot

    async def job_started(self, job: str, now: datetime) -> int:
        """Write down that a job begins; return the number of this run."""
        async with self.engine.execution_options(**WRITES).begin() as connection:
            result = await connection.execute(sa.insert(JOB_RUNS).values(job=job, started_at=now).returning(JOB_RUNS.c.id))
            return int(result.scalar_one())

    async def job_ended(self, run: int, now: datetime, error: str | None) -> None:
        """Write down how a run ended."""
        async with self.engine.execution_options(**WRITES).begin() as connection:
            await connection.execute(sa.update(JOB_RUNS).where(JOB_RUNS.c.id == run).values(ended_at=now, error=error))

    async def last_job_runs(self) -> list[JobRun]:
        """Return the last run of each job, by name."""
        last = sa.select(sa.func.max(JOB_RUNS.c.id)).group_by(JOB_RUNS.c.job)
        query = sa.select(JOB_RUNS).where(JOB_RUNS.c.id.in_(last)).order_by(JOB_RUNS.c.job)
        async with self.engine.connect() as connection:
            return [JobRun(**row) for row in (await connection.execute(query)).mappings()]


def _aware(instant: datetime) -> datetime:
    """An instant as it was written: SQLite gives it back without its time zone, which is UTC."""
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


async def _is_published(connection: AsyncConnection, week: str) -> bool:
    return await connection.scalar(sa.select(PUBLISHED_WEEKS.c.week).where(PUBLISHED_WEEKS.c.week == week)) is not None
