"""The raw store: one row for one week of one environment.

The key is what the client made up for the week, and there is no other column that could tell when a report came: no row id,
no sequence, no time (design, "One request, one week").
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from aggregation.stores.engines import BUSY_TIMEOUT_MS, WRITES
from aggregation.stores.reports import NewReport, Stored
from aggregation.stores.sqlite_intake import SqliteIntake

SMALL = 64 * 2**20
"""Bytes of a SQLite store up to which it is written anew in memory, within some tenths of a second, before a deletion is
answered. A larger one is written anew once a day at most, because reports wait meanwhile."""
DAY_S = 86_400
DELETED_AT_A_TIME = 1000
"""Reports of weeks whose time is over, in one transaction on SQLite."""
PAUSE_S = 0.01
"""Between two of them, so that the intake gets its turn."""
ATTEMPTS, BETWEEN_ATTEMPTS_S = 20, 3.0
"""To drop partitions on PostgreSQL while others read them."""
LOCK_NOT_AVAILABLE = "55P03"


class RawBase(SQLModel, registry=registry()):
    """The tables of the raw store, apart from those of the other."""


class Report(RawBase, table=True):
    """A report as it was sent, at most a week's worth of one environment."""

    __tablename__ = "reports"
    __table_args__ = {"sqlite_with_rowid": False, "postgresql_partition_by": "LIST (week)"}

    week: str = Field(primary_key=True, max_length=8)
    identifier: str = Field(primary_key=True, max_length=32)
    environment: str = Field(primary_key=True, max_length=8)
    revision: int
    level: str = Field(max_length=6)
    schema_version: int
    document: dict[str, Any] = Field(sa_type=sa.JSON().with_variant(JSONB(), "postgresql"))


REPORTS: sa.Table = Report.__table__  # type: ignore[attr-defined]
_KEY = (REPORTS.c.week, REPORTS.c.identifier, REPORTS.c.environment)
_PUT = sa.text("SELECT place, stored, revision, reason, is_new FROM put_reports(CAST(:batch AS jsonb))")
_FIND = sa.text("SELECT * FROM find_reports(:identifier)").columns(*REPORTS.c)
_DELETE = sa.text("SELECT delete_reports(:identifier)")
_PUT_IN_ORDER = sa.text("SELECT put_in_order(:week)")
_GIVE_UP_SOON = sa.text("SET LOCAL lock_timeout = '1s'")
_DELETE_BEFORE = sa.text("SELECT delete_reports_before(:week)")


class RawStore:
    """The raw reports, for those who may see them: the intake, their owners, the aggregation.

    On PostgreSQL everything that the web process does goes through functions of the tables' owner (see the migration), because
    that process has no rights on the tables themselves.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._on_postgresql = engine.dialect.name == "postgresql"
        self._intake = None if self._on_postgresql else SqliteIntake(engine.url)
        self._deletions = 1  # a process that was killed may have left deleted text in SQLite's log
        self._rewritten = self._erased = 0
        self.erasing_takes = 0.0
        """Seconds that the last erasure took."""

    async def close(self) -> None:
        """Give back all connections."""
        if self._intake is not None:
            await self._intake.close()
        await self.engine.dispose()

    async def put(self, reports: Sequence[NewReport]) -> list[Stored]:
        """Store reports in one transaction, and return what became of each, in order, once that is durable.

        The highest revision of a report is kept. A repeat of what is held counts as stored and changes nothing. Raises
        SQLAlchemyError or OSError where the database is away or full; then none is stored.
        """
        if self._intake is not None:
            return await self._intake.put(reports)
        batch = msgspec.json.encode(reports).decode()
        async with self.engine.begin() as connection:
            rows = (await connection.execute(_PUT, {"batch": batch})).all()
        outcomes = {position: Stored(*outcome) for position, *outcome in rows}
        return [outcomes[position] for position in range(1, len(reports) + 1)]

    async def find(self, identifier: str) -> list[Report]:
        """Return all that is stored for an identifier, by week and environment."""
        query: sa.Executable = sa.select(REPORTS).where(_of(identifier)).order_by(*_KEY)
        if self._on_postgresql:
            query = _FIND.bindparams(identifier=identifier)
        async with self.engine.connect() as connection:
            return [Report(**row) for row in (await connection.execute(query)).mappings()]

    async def delete(self, identifier: str) -> int:
        """Delete all that is stored for an identifier, physically; return how many reports that were."""
        if self._on_postgresql:
            async with self.engine.begin() as connection:
                return int(await connection.scalar(_DELETE, {"identifier": identifier}) or 0)
        weeks = {report.week for report in await self.find(identifier)}
        if not weeks:
            return 0  # without keeping anybody from writing
        mine = REPORTS.c.week.in_(weeks) & (REPORTS.c.identifier == identifier)
        async with self.engine.execution_options(**WRITES).begin() as connection:
            deleted = (await connection.execute(sa.delete(REPORTS).where(mine))).rowcount
        if deleted:
            await self._erase_if_quick()
        return deleted

    async def delete_before(self, week: str) -> int:
        """Delete the reports of all weeks before ``week``, physically; return how many that were.

        Nobody who writes waits for long: SQLite deletes some reports at a time; PostgreSQL drops partitions, and where somebody
        reads the table it gives up soon, and tries again, rather than let the intake queue behind it. Raises SQLAlchemyError
        where that goes on.
        """
        if not self._on_postgresql:
            deleted = 0
            while some := await self._delete_some_before(week):
                deleted += some
                await asyncio.sleep(PAUSE_S)
            if deleted:
                await self._erase_if_quick()
            return deleted
        for attempt in range(ATTEMPTS):
            try:
                async with self.engine.begin() as connection:
                    await connection.execute(_GIVE_UP_SOON)
                    return int(await connection.scalar(_DELETE_BEFORE.bindparams(week=week)) or 0)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(BETWEEN_ATTEMPTS_S)
        raise AssertionError("unreachable")

    async def count_before(self, week: str) -> dict[str, int]:
        """Return how many reports there are of each week before ``week``."""
        query = sa.select(REPORTS.c.week, sa.func.count()).where(REPORTS.c.week < week).group_by(REPORTS.c.week)
        async with self.engine.connect() as connection:
            rows = await connection.execute(query.order_by(REPORTS.c.week))
            return {week: number for week, number in rows}  # noqa: C416 - rows are no pairs to mypy

    async def sample(self, week: str | None, limit: int) -> list[Report]:
        """Return some reports, of one week or of all, in the order of their key: that is, by chance."""
        query = sa.select(REPORTS).order_by(*_KEY).limit(limit)
        if week is not None:
            query = query.where(REPORTS.c.week == week)
        async with self.engine.connect() as connection:
            return [Report(**row) for row in (await connection.execute(query)).mappings()]

    async def put_in_order(self, week: str) -> None:
        """Let nothing tell in which order the reports of a week came.

        SQLite keeps them by their key. PostgreSQL keeps them where they came, and with the transaction that brought each
        (``ctid``, ``xmin``): there the week's partition is written anew.
        """
        if self._on_postgresql:
            async with self.engine.begin() as connection:
                await connection.execute(_PUT_IN_ORDER, {"week": week})

    async def weeks(self) -> list[str]:
        """Return the weeks of which there are reports, in order."""
        query = sa.select(_WEEKS.c.week).where(_WEEKS.c.week.is_not(None)).order_by(_WEEKS.c.week)
        async with self.engine.connect() as connection:
            return list((await connection.execute(query)).scalars())

    async def _delete_some_before(self, week: str) -> int:
        some = sa.select(*_KEY).where(REPORTS.c.week < week).limit(DELETED_AT_A_TIME)
        async with self.engine.execution_options(**WRITES).begin() as connection:
            return (await connection.execute(sa.delete(REPORTS).where(sa.tuple_(*_KEY).in_(some)))).rowcount

    async def _erase_if_quick(self) -> None:
        self._deletions += 1
        if self._is_small():  # else it is done in the background, once a day
            await self.erase()

    def _is_small(self) -> bool:
        """Whether writing the file anew keeps nobody waiting."""
        base = self.engine.url.database or ""
        sizes = [path.stat().st_size for path in (Path(base), Path(f"{base}-wal")) if path.exists()]
        return sum(sizes) <= SMALL

    def _is_due(self, at_once: bool) -> bool:
        """Whether the file may be written anew now. A mark beside it says when that was, for all processes."""
        if at_once or self._is_small():
            return True
        mark = self._mark()
        return not mark.exists() or abs(time.time() - mark.stat().st_mtime) >= DAY_S

    def _mark(self) -> Path:
        return Path(f"{self.engine.url.database}.written-anew")

    @property
    def is_erased(self) -> bool:
        """Whether no deleted text can be in SQLite's log any more."""
        return self._erased == self._deletions

    async def erase(self, *, at_once: bool = False) -> bool:
        """Remove deleted text physically; tell whether that was done, or somebody is reading an older state.

        A file of more than 64 MB is written anew once a day, unless it shall be ``at_once``: until then this is False.

        ``secure_delete`` overwrites what is deleted, but not the copies that SQLite leaves in the free space of pages when
        it moves rows between them: so the file is written anew (VACUUM). Overwritten pages are in the log until it is
        merged and cut. On PostgreSQL there is nothing to do here: its vacuum and its log are the operator's
        (docs/scaling.md).
        """
        if not self.is_erased:
            until = self._deletions  # one that comes in meanwhile is not covered
            if self.engine.dialect.name != "sqlite":
                self._erased = until
            else:
                before = time.monotonic()
                is_due = self._rewritten < until
                if is_due and not self._is_due(at_once):
                    return False
                async with self.engine.connect() as connection:
                    rewritten = await connection.run_sync(_rewrite, is_due)
                self.erasing_takes = time.monotonic() - before
                if rewritten.is_rewritten and not self._is_small():
                    self._mark().touch()
                self._rewritten = until if rewritten.is_rewritten else self._rewritten
                self._erased = until if rewritten.is_erased else self._erased
        return self.is_erased


def _all_weeks() -> sa.CTE:
    """The weeks of which there are reports, by one step along the key for each: a DISTINCT would read every row."""
    first = sa.select(sa.func.min(REPORTS.c.week).label("week")).cte("weeks", recursive=True)
    following = sa.select(sa.func.min(REPORTS.c.week)).where(REPORTS.c.week > first.c.week).scalar_subquery()
    return first.union_all(sa.select(following).where(first.c.week.is_not(None)))


_WEEKS = _all_weeks()


def _of(identifier: str) -> sa.ColumnElement[bool]:
    """The reports of an identifier, found by the key, which begins with the week."""
    return REPORTS.c.week.in_(sa.select(_WEEKS.c.week)) & (REPORTS.c.identifier == identifier)


class Rewritten(NamedTuple):
    """How far an erasure came: the file written anew, and the log cut so that nothing deleted is in it either."""

    is_rewritten: bool
    is_erased: bool


def _rewrite(connection: sa.Connection, is_due: bool) -> Rewritten:
    """Write the file anew, if that ``is_due``, and cut the log.

    While somebody reads an older state the log can't be cut: then nothing is written that would only make it longer.
    """
    cursor = connection.connection.cursor()  # beneath SQLAlchemy, which would begin a transaction first

    def is_cut() -> bool:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        row = cursor.fetchone()
        return row is not None and not row[0]  # the first column tells whether somebody was in the way

    try:
        cursor.execute("PRAGMA busy_timeout = 250")
        if not is_due:
            return Rewritten(False, is_cut())
        if not is_cut():
            return Rewritten(False, False)
        try:
            cursor.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
            (size,) = cursor.fetchone() or (0,)
            cursor.execute(f"PRAGMA temp_store = {'MEMORY' if size <= SMALL else 'DEFAULT'}")  # else in a file elsewhere
            cursor.execute("VACUUM")
        except sqlite3.OperationalError:
            return Rewritten(False, False)
        return Rewritten(True, is_cut())
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.close()
