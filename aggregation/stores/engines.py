"""Database engines for both stores."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Executable, RowMapping, event, make_url
from sqlalchemy.engine import Connection, CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

WRITE_OPTIONS = {"sqlite_begin": "BEGIN IMMEDIATE"}
"""Execution options of a write transaction: SQLite then acquires the write lock at the start."""

BUSY_TIMEOUT_MS = 10_000
SYNCHRONOUS = "FULL"
"""PRAGMA synchronous: a commit waits until the data is on disk."""


def make_engine(url: str, **options: Any) -> AsyncEngine:
    """Return an engine for a store's URL. ``options``: for SQLAlchemy's engine, only used with PostgreSQL.

    SQLite uses WAL with ``synchronous=FULL`` for durable commits, and explicit BEGIN, because the driver would run reads
    outside the transaction. Errors hide statement parameters, so that no identifiers are logged.
    """
    if make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url, **{"pool_pre_ping": True, "hide_parameters": True} | options)
    database = make_url(url).database
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
        Path(database).touch(mode=0o600)  # only the operator may read hidden counts
    engine = create_async_engine(url, hide_parameters=True)
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _set_pragmas(connection: Any, _: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (f"busy_timeout = {BUSY_TIMEOUT_MS}", "journal_mode = WAL", f"synchronous = {SYNCHRONOUS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


@asynccontextmanager
async def open_engine(url: str) -> AsyncIterator[AsyncEngine]:
    """Open an engine for a block."""
    engine = make_engine(url)
    try:
        yield engine
    finally:
        await engine.dispose()


class Queries:
    """Base class of the stores: runs each statement in its own transaction. Methods raise SQLAlchemyError or OSError."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def rows(self, query: Executable) -> Sequence[RowMapping]:
        """Return the rows of a query."""
        async with self.engine.connect() as connection:
            return (await connection.execute(query)).mappings().all()

    async def values(self, query: Executable) -> list[Any]:
        """Return the first column of a query's rows."""
        async with self.engine.connect() as connection:
            return list((await connection.execute(query)).scalars())

    def write_transaction(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a write transaction."""
        return self.engine.execution_options(**WRITE_OPTIONS).begin()

    async def write(self, statement: Executable) -> CursorResult[Any]:
        """Run a statement in a write transaction."""
        async with self.write_transaction() as connection:
            result: CursorResult[Any] = await connection.execute(statement)
            return result
