"""The raw store: one row for one week of one environment.

The key is what the client made up for the week, and there is no other column that could tell when a report came: no row id,
no sequence, no time (design, "One request, one week").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from aggregation.stores.engines import BUSY_TIMEOUT_MS, WRITES

MOST_ENVIRONMENTS = 8
"""Of one identifier, kept for one week."""


class RawBase(SQLModel, registry=registry()):
    """The tables of the raw store, apart from those of the other."""


class Report(RawBase, table=True):
    """A report as it was sent, at most a week's worth of one environment."""

    __tablename__ = "reports"
    __table_args__ = {"sqlite_with_rowid": False}

    week: str = Field(primary_key=True, max_length=8)
    identifier: str = Field(primary_key=True, max_length=32)
    environment: str = Field(primary_key=True, max_length=8)
    revision: int
    level: str = Field(max_length=6)
    schema_version: int
    document: dict[str, Any] = Field(sa_type=sa.JSON().with_variant(JSONB(), "postgresql"))


REPORTS: sa.Table = Report.__table__  # type: ignore[attr-defined]
_KEY = (REPORTS.c.week, REPORTS.c.identifier, REPORTS.c.environment)


class NewReport(Struct, frozen=True):
    """A report to be stored. ``document`` holds its fields without those of the key and ``revision``."""

    week: str
    identifier: str
    environment: str
    revision: int
    level: str
    schema_version: int
    document: dict[str, Any]


class Stored(Struct, frozen=True):
    """What became of a report: ``revision`` is the one that is held now, ``reason`` why this one was not taken."""

    stored: bool
    revision: int
    reason: str | None = None


class RawStore:
    """The raw reports, for those who may see them: the intake, their owners, the aggregation."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._deletions = 1  # a process that was killed may have left deleted text in SQLite's log
        self._erased = 0

    async def put(self, reports: Sequence[NewReport]) -> list[Stored]:
        """Store reports in one transaction, and return what became of each once that is durable."""
        async with self.engine.execution_options(**WRITES).begin() as connection:
            return [await _put(connection, report) for report in reports]

    async def find(self, identifier: str) -> list[Report]:
        """Return all that is stored for an identifier, by week and environment."""
        query = sa.select(REPORTS).where(REPORTS.c.identifier == identifier).order_by(*_KEY)
        async with self.engine.connect() as connection:
            return [Report(**row) for row in (await connection.execute(query)).mappings()]

    async def delete(self, identifier: str) -> int:
        """Delete all that is stored for an identifier, physically; return how many reports that were."""
        return await self._delete(REPORTS.c.identifier == identifier)

    async def delete_before(self, week: str) -> int:
        """Delete the reports of all weeks before ``week``, physically; return how many that were."""
        return await self._delete(REPORTS.c.week < week)

    async def weeks(self) -> list[str]:
        """Return the weeks of which there are reports, in order."""
        query = sa.select(REPORTS.c.week).distinct().order_by(REPORTS.c.week)
        async with self.engine.connect() as connection:
            return list((await connection.execute(query)).scalars())

    async def _delete(self, condition: sa.ColumnElement[bool]) -> int:
        async with self.engine.execution_options(**WRITES).begin() as connection:
            deleted = (await connection.execute(sa.delete(REPORTS).where(condition))).rowcount
        self._deletions += 1
        await self.erase()
        return deleted

    @property
    def is_erased(self) -> bool:
        """Whether no deleted text can be in SQLite's log any more."""
        return self._erased == self._deletions

    async def erase(self) -> bool:
        """Remove deleted text from SQLite's log too; tell whether that was possible, or somebody is reading an older state.

        Overwritten pages are in the log until it is merged and cut: then the text is in no file any more. On PostgreSQL there
        is nothing to do here.
        """
        if not self.is_erased:
            until = self._deletions  # one that comes in meanwhile is not covered
            if self.engine.dialect.name != "sqlite":
                self._erased = until
            else:
                async with self.engine.connect() as connection:
                    if await connection.run_sync(_checkpoint):
                        self._erased = until
        return self.is_erased


def _checkpoint(connection: sa.Connection) -> bool:
    cursor = connection.connection.cursor()  # beneath SQLAlchemy, which would begin a transaction first
    try:
        cursor.execute("PRAGMA busy_timeout = 250")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        row = cursor.fetchone()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    finally:
        cursor.close()
    return row is not None and not row[0]  # the first column tells whether somebody was in the way


async def _put(connection: AsyncConnection, report: NewReport) -> Stored:
    """Insert a report, or replace an earlier revision of it. A repeat of what is held counts as stored and changes nothing."""
    held = await _held(connection, report)
    here = held.get(report.environment)
    if here is None and len(held) >= MOST_ENVIRONMENTS:
        return Stored(False, report.revision, f"there are {MOST_ENVIRONMENTS} environments of this identifier already")
    if here is None or here.revision < report.revision:
        insert = postgresql_insert if connection.dialect.name == "postgresql" else sqlite_insert
        statement = insert(REPORTS).values(msgspec.structs.asdict(report))
        replaced = {column.name: statement.excluded[column.name] for column in REPORTS.c if not column.primary_key}
        upsert = statement.on_conflict_do_update(
            index_elements=_KEY, set_=replaced, where=REPORTS.c.revision < statement.excluded.revision
        )
        if (await connection.execute(upsert)).rowcount:
            return Stored(True, report.revision)
        here = (await _held(connection, report))[report.environment]  # another process was faster
    if here == report:
        return Stored(True, report.revision)
    return Stored(False, here.revision, f"revision {here.revision} of this report is held already")


async def _held(connection: AsyncConnection, report: NewReport) -> dict[str, NewReport]:
    """The reports of the same identifier and week, by environment."""
    same = (REPORTS.c.week == report.week) & (REPORTS.c.identifier == report.identifier)
    rows = (await connection.execute(sa.select(REPORTS).where(same))).mappings()
    return {row["environment"]: NewReport(**row) for row in rows}
