"""Taking reports on SQLite: a connection and a thread of its own, so that a group of reports is one hop and one commit.

Through SQLAlchemy's asynchronous driver each statement is a hop between threads, which costs more than the statement.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from aggregation.stores.engines import prepare_sqlite
from aggregation.stores.reports import MOST_ENVIRONMENTS, NewReport, Stored, held_already, too_many_environments

WAITS_MS = 60_000
"""So long a group of reports waits while a large file is written anew."""
REPORTS_PER_MERGE = 2000
"""After so many, the log is merged into the file, in the background: in a commit, all who share it would wait for that."""
PAGES_BEFORE_COMMITS_MERGE = 20_000
"""Of the log, past which a commit merges it all the same, so that it stays bounded: 80 MB."""

_HELD = "SELECT environment, revision FROM reports WHERE week = ? AND identifier = ?"
_CONTENT = "SELECT level, schema_version, document FROM reports WHERE week = ? AND identifier = ? AND environment = ?"
_UPSERT = """
INSERT INTO reports (week, identifier, environment, revision, level, schema_version, document) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (week, identifier, environment) DO UPDATE SET
    revision = excluded.revision, level = excluded.level, schema_version = excluded.schema_version, document = excluded.document
"""


class SqliteIntake:
    """Stores groups of reports in the file that ``url`` names."""

    def __init__(self, url: sa.URL) -> None:
        self._file = url.database or ":memory:"
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._merging: asyncio.Future[None] | None = None
        self._since_merge = 0

    async def put(self, reports: Sequence[NewReport]) -> list[Stored]:
        """Store reports in one transaction; see `RawStore.put`."""
        stored = await asyncio.get_running_loop().run_in_executor(self._thread, self._put, reports)
        self._since_merge += len(reports)
        if self._since_merge >= REPORTS_PER_MERGE and (self._merging is None or self._merging.done()):
            self._since_merge = 0
            self._merging = asyncio.ensure_future(asyncio.to_thread(_merge_log, self._file))
        return stored

    async def close(self) -> None:
        """Close the connection, once what is under way is done."""
        if self._merging is not None:
            await asyncio.gather(self._merging, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _put(self, reports: Sequence[NewReport]) -> list[Stored]:
        try:
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            try:
                outcomes = [_put(connection, report) for report in reports]
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk may have undone it already
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            self._close()  # the next group opens the file anew, in case it was replaced or its disk was away
            raise OperationalError("storing reports", None, error) from error
        return outcomes

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
            prepare_sqlite(self._connection)
            self._connection.execute(f"PRAGMA busy_timeout = {WAITS_MS}")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES_BEFORE_COMMITS_MERGE}")
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _merge_log(file: str) -> None:
    """Merge what of the log nobody reads any more, without keeping anybody from writing."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection, contextlib.suppress(sqlite3.Error):
        prepare_sqlite(connection)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _put(connection: sqlite3.Connection, report: NewReport) -> Stored:
    key = report.week, report.identifier, report.environment
    held: dict[str, int] = dict(connection.execute(_HELD, key[:2]).fetchall())
    revision = held.get(report.environment)
    if revision is None and len(held) >= MOST_ENVIRONMENTS:
        return too_many_environments(report.revision)
    if revision is None or revision < report.revision:
        document = msgspec.json.encode(report.document).decode()
        connection.execute(_UPSERT, (*key, report.revision, report.level, report.schema_version, document))
        return Stored(True, report.revision, is_new=revision is None)
    if revision == report.revision:
        level, schema_version, text = connection.execute(_CONTENT, key).fetchone()
        same = (level, schema_version) == (report.level, report.schema_version)
        if same and msgspec.json.decode(text) == report.document:
            return Stored(True, revision)
    return held_already(revision)
