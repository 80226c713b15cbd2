"""The raw store on SQLite: a folder with one file per week, such as ``2026-W47.sqlite3``.

WAL lets readers continue during writes, and ``synchronous=FULL`` makes commits durable. Deleted rows may stay in the WAL
until the next deletion or until the service stops.
"""

import asyncio
import contextlib
import os
import re
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from aggregation.stores import engines
from aggregation.stores.reports import MAX_ENVIRONMENTS, Outcome, RawRow, Report, StoreResult, report_of

T = TypeVar("T")

FORMAT = 1
"""Version of the file format; newer files are rejected."""
LOCK_TIMEOUT_S = 60.0
"""Seconds to wait for a lock: long, because a deletion rewrites the week's table."""
REPORTS_PER_CHECKPOINT = 2000
"""Number of reports after which the WAL is checkpointed in the background."""
MAX_OPEN_WEEKS = 4
"""Number of open files: a week accepts reports until 14 days after its end, and a day early for fast clocks."""
PAUSE_FACTOR = 9
"""Pause after a deletion, as a multiple of its duration: deletions may use a tenth of the time."""
MAX_PAUSE_S = 30.0
ROWS_AT_A_TIME = 2000
PRAGMAS = (
    "page_size = 8192",  # for new files: a report may not fit into a page of 4,096 bytes
    "journal_mode = WAL",
    "wal_autocheckpoint = 20000",  # 160 MB of pages: a checkpoint in a commit would delay the whole group
    "secure_delete = ON",
)

_WEEK_FILE = re.compile(r"[0-9]{4}-W[0-9]{2}\.sqlite3")
_TABLE = """CREATE TABLE reports (
    identifier TEXT NOT NULL, environment TEXT NOT NULL, revision INTEGER NOT NULL, level TEXT NOT NULL,
    schema_version INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (identifier, environment)
) WITHOUT ROWID"""
_OWN = "SELECT * FROM reports WHERE identifier = ? ORDER BY environment"
_HELD = "SELECT identifier, environment, revision FROM reports WHERE identifier IN (SELECT value FROM json_each(?))"
_ONE_REPORT = "SELECT * FROM reports WHERE identifier = ? AND environment = ?"
_WRITE = "INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?, ?, ?)"
_COUNT = "SELECT identifier, count(*) FROM reports WHERE identifier IN (SELECT value FROM json_each(?)) GROUP BY identifier"
_COPY = """INSERT INTO reports SELECT * FROM former WHERE identifier NOT IN (SELECT value FROM json_each(?))
    ORDER BY identifier, environment"""
_RANGE = "SELECT * FROM reports WHERE identifier >= ? AND identifier < ? ORDER BY identifier, environment"


class SqliteReports:
    """The raw store on SQLite."""

    web_lists_weeks = True

    def __init__(self, url: str) -> None:
        """Create the store. ``url``: SQLAlchemy's URL, with the folder as its database."""
        self.url = url
        self._folder = Path(make_url(url).database or "")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._open_weeks: dict[str, sqlite3.Connection] = {}  # only for the writer thread
        self._pending_deletions: dict[str, asyncio.Future[int]] = {}
        self._deleting = asyncio.Lock()
        self._paused_until = 0.0
        self._since_checkpoint = 0
        self._checkpointing: asyncio.Task[list[None]] | None = None

    def prepare(self) -> None:
        """Create the folder and check its files. Raises OperationalError if a file is unreadable or newer."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # only the service may read raw reports
        with _convert_errors():
            for week in self._weeks():
                self._connect(week).close()

    async def close(self) -> None:
        if self._checkpointing is not None:
            await asyncio.gather(self._checkpointing, return_exceptions=True)
        await self._in_writer(self._close_weeks)
        self._writer.shutdown(wait=False)

    async def check(self) -> None:
        await self.weeks()

    async def put(self, reports: Sequence[Report]) -> list[StoreResult]:
        """Store all reports in one call on the writer thread."""
        stored = await self._in_writer(lambda: self._put(reports))
        self._since_checkpoint += len(reports)
        if self._since_checkpoint >= REPORTS_PER_CHECKPOINT and (self._checkpointing is None or self._checkpointing.done()):
            self._since_checkpoint = 0
            self._checkpointing = asyncio.create_task(self._by_week(_checkpoint, {report.week for report in reports}))
        return stored

    async def find(self, identifier: str) -> list[Report]:
        def found(database: sqlite3.Connection, week: str) -> list[Report]:
            return [report_of(week, row) for row in database.execute(_OWN, [identifier])]

        return await self._by_week(found)

    async def delete(self, identifier: str) -> int:
        """Delete an identifier's reports. Waiting requests share the next deletion."""
        asked = self._pending_deletions.setdefault(identifier, asyncio.get_running_loop().create_future())
        async with self._deleting:
            if not asked.done():
                await asyncio.sleep(self._paused_until - time.monotonic())
                batch, self._pending_deletions = self._pending_deletions, {}
                await self._delete(batch)
        return await asked

    async def delete_before(self, week: str) -> int:
        old = [each for each in await asyncio.to_thread(self._weeks) if each < week]
        reports = await self.count(old)
        await self._in_writer(lambda: self._delete_weeks(old))
        return sum(reports.values())

    async def scrub_arrival_order(self, week: str) -> None:
        """Vacuum the file: positions on pages reveal the order of arrival."""

        def vacuum(database: sqlite3.Connection, _: str) -> list[None]:
            database.execute("VACUUM")
            _truncate_wal(database)
            return []

        await self._by_week(vacuum, [week])

    async def weeks(self) -> list[str]:
        return await self._by_week(lambda database, week: [week for _ in database.execute("SELECT 1 FROM reports LIMIT 1")])

    async def count(self, weeks: Collection[str]) -> dict[str, int]:
        def counted(database: sqlite3.Connection, week: str) -> list[tuple[str, int]]:
            return [(week, database.execute("SELECT count(*) FROM reports").fetchone()[0])]

        return dict(await self._by_week(counted, weeks))

    async def rows(self, week: str, first: str = "", last: str = "g") -> AsyncGenerator[list[RawRow]]:
        if week not in self._weeks():
            return
        with _convert_errors(), closing(await asyncio.to_thread(self._connect, week)) as database:
            cursor = database.execute(_RANGE, (first, last))
            while rows := await asyncio.to_thread(cursor.fetchmany, ROWS_AT_A_TIME):
                yield rows

    def _weeks(self) -> list[str]:
        return sorted(
            name.removesuffix(".sqlite3")
            for name in os.listdir(self._folder)  # noqa: PTH208 - raises if the folder is missing
            if _WEEK_FILE.fullmatch(name)
        )

    async def _in_writer(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def _by_week(
        self, work: Callable[[sqlite3.Connection, str], list[T]], weeks: Collection[str] | None = None
    ) -> list[T]:
        def everywhere() -> list[T]:
            found: list[T] = []
            with _convert_errors():
                for week in self._weeks():
                    if weeks is None or week in weeks:
                        with self._opened(week) as database:
                            found += work(database, week)
            return found

        return await asyncio.to_thread(everywhere)

    def _connect(self, week: str) -> sqlite3.Connection:
        database = sqlite3.connect(
            self._folder / f"{week}.sqlite3", timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        for pragma in (*PRAGMAS, f"synchronous = {engines.SYNCHRONOUS}"):
            database.execute(f"PRAGMA {pragma}").close()
        (found,) = database.execute("PRAGMA user_version").fetchone()
        if found > FORMAT:
            database.close()
            raise sqlite3.NotSupportedError(f"the reports of {week} were stored by a newer version: install that version")
        if not found:
            with _transaction(database):
                if not database.execute("PRAGMA user_version").fetchone()[0]:  # another process may have created it
                    database.execute(_TABLE)
                    database.execute(f"PRAGMA user_version = {FORMAT}")
        return database

    def _opened(self, week: str) -> closing[sqlite3.Connection]:
        return closing(self._connect(week))

    def _put(self, reports: Sequence[Report]) -> list[StoreResult]:
        outcomes: dict[int, StoreResult] = {}
        try:
            with _convert_errors():
                for week in sorted({report.week for report in reports}):
                    places = [place for place, report in enumerate(reports) if report.week == week]
                    with _transaction(self._connection_of(week)) as database:
                        stored = _put(database, [reports[place] for place in places])
                    outcomes |= dict(zip(places, stored, strict=True))
        except OperationalError:
            self._close_weeks()  # reopen the files next time, in case the disk was unavailable
            raise
        return [outcomes[place] for place in range(len(reports))]

    def _connection_of(self, week: str) -> sqlite3.Connection:
        if week not in self._open_weeks:
            while len(self._open_weeks) >= MAX_OPEN_WEEKS:
                self._open_weeks.pop(min(self._open_weeks)).close()
            self._open_weeks[week] = self._connect(week)
        return self._open_weeks[week]

    def _close_weeks(self) -> None:
        while self._open_weeks:
            self._open_weeks.popitem()[1].close()

    def _delete_weeks(self, weeks: Collection[str]) -> None:
        self._close_weeks()
        for week in weeks:
            for path in sorted(self._folder.glob(f"{week}.sqlite3*"), reverse=True):
                path.unlink(missing_ok=True)  # the WAL first: it would not be found again without its database

    async def _delete(self, batch: dict[str, asyncio.Future[int]]) -> None:
        began = time.monotonic()
        try:
            deleted = await asyncio.to_thread(self._delete_all, list(batch))
        except Exception as error:
            for asked in batch.values():
                asked.set_exception(error)
        except BaseException:  # the service is stopping
            for asked in batch.values():
                asked.cancel()
            raise
        else:
            for identifier, asked in batch.items():
                asked.set_result(deleted.get(identifier, 0))
        finally:
            self._paused_until = time.monotonic() + min(PAUSE_FACTOR * (time.monotonic() - began), MAX_PAUSE_S)

    def _delete_all(self, identifiers: Sequence[str]) -> dict[str, int]:
        deleted: dict[str, int] = {}
        for week in self._weeks():
            for identifier, reports in self._rewrite_without(week, identifiers).items():
                deleted[identifier] = deleted.get(identifier, 0) + reports
        # Truncate last: if a reader blocks it, the next deletion retries.
        for week in self._weeks():
            log = self._folder / f"{week}.sqlite3-wal"
            with _convert_errors(), contextlib.suppress(FileNotFoundError):
                if log.stat().st_size:
                    with self._opened(week) as database:
                        _truncate_wal(database)
        return deleted

    def _rewrite_without(self, week: str, without: Sequence[str]) -> dict[str, int]:
        """Copy a week's table without some identifiers, drop the old one, and return the deleted reports per identifier.

        ``secure_delete`` overwrites deleted rows, but not the copies that SQLite leaves in free space when it moves rows
        between pages. It does overwrite the pages of a dropped table. It is all one transaction.
        """
        those = msgspec.json.encode(without).decode()
        with _convert_errors(), self._opened(week) as database:
            deleted: dict[str, int] = {}
            if database.execute(_COUNT, [those]).fetchall():
                with _transaction(database):
                    deleted = dict(database.execute(_COUNT, [those]).fetchall())
                    database.execute("ALTER TABLE reports RENAME TO former")
                    database.execute(_TABLE)
                    database.execute(_COPY, [those])
                    database.execute("DROP TABLE former")
            return deleted


@contextlib.contextmanager
def _convert_errors() -> Iterator[None]:
    """Convert SQLite's errors to SQLAlchemy's, without statement parameters, which contain identifiers."""
    try:
        yield
    except sqlite3.Error as error:
        raise OperationalError(str(error), None, error) from error


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # a full disk may have rolled it back
            database.execute("ROLLBACK")
        raise


def _checkpoint(database: sqlite3.Connection, _: str) -> list[None]:
    database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    return []


def _truncate_wal(database: sqlite3.Connection) -> None:
    """Truncate the WAL. Raises OperationalError if a reader of an older snapshot blocks it for too long."""
    if database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        raise sqlite3.OperationalError("a reader of an older snapshot blocks the truncation of the WAL")


def _put(database: sqlite3.Connection, reports: Sequence[Report]) -> list[StoreResult]:
    """Store reports with few statements, because this thread waits for the GIL after each."""
    held: dict[str, dict[str, int]] = {report.identifier: {} for report in reports}
    for identifier, environment, revision in database.execute(_HELD, [msgspec.json.encode(list(held)).decode()]):
        held[identifier][environment] = revision
    rows: dict[tuple[str, str], RawRow] = {}
    outcomes = []
    for report in reports:
        key, of_person = (report.identifier, report.environment), held[report.identifier]
        row = (*key, report.revision, report.level, report.schema_version, msgspec.json.encode(report.document).decode())
        revision = of_person.get(report.environment)
        if revision is None and len(of_person) >= MAX_ENVIRONMENTS:
            outcomes.append(StoreResult(Outcome.TOO_MANY, report.revision))
        elif revision is None or revision < report.revision:
            rows[key], of_person[report.environment] = row, report.revision
            outcomes.append(StoreResult(Outcome.NEW if revision is None else Outcome.REPLACED, report.revision))
        elif (rows.get(key) or database.execute(_ONE_REPORT, key).fetchone()) == row:
            outcomes.append(StoreResult(Outcome.REPEATED, revision))
        else:
            outcomes.append(StoreResult(Outcome.HELD, revision))
    database.executemany(_WRITE, sorted(rows.values()))
    return outcomes
