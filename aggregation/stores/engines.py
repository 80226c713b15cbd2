"""Database engines for both stores."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Executable, RowMapping, event, make_url
from sqlalchemy.engine import Connection, CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

WRITES = {"sqlite_begin": "BEGIN IMMEDIATE"}
"""Execution options of a writing transaction: SQLite then takes the write lock at the start."""

BUSY_TIMEOUT_MS = 10_000
SYNCHRONOUS = "FULL"
"""A commit waits until the data are on disk."""


def make_engine(url: str, **options: Any) -> AsyncEngine:
    """Return an engine for a store's URL. ``options``: of SQLAlchemy's engine, only for PostgreSQL.

    SQLite uses WAL with ``synchronous=FULL``, for durable commits, and explicit BEGIN, because the driver would leave reads
    outside of the transaction. Errors hide statement parameters, which would log identifiers.
    """
    if make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url, **{"pool_pre_ping": True, "hide_parameters": True} | options)
    database = make_url(url).database
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
        Path(database).touch(mode=0o600)  # hidden counts are only for the operator
    engine = create_async_engine(url, hide_parameters=True)
    event.listen(engine.sync_engine, "connect", _prepare_new)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_new(connection: Any, _: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (f"busy_timeout = {BUSY_TIMEOUT_MS}", "journal_mode = WAL", f"synchronous = {SYNCHRONOUS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[AsyncEngine]:
    """Open an engine for a block."""
    engine = make_engine(url)
    try:
        yield engine
    finally:
        await engine.dispose()


class Queries:
    """Statements on a store, each in a transaction of its own. All raise SQLAlchemyError or OSError."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def rows(self, query: Executable) -> Sequence[RowMapping]:
        """Return the rows that a query finds."""
        async with self.engine.connect() as connection:
            return (await connection.execute(query)).mappings().all()

    async def values(self, query: Executable) -> list[Any]:
        """Return the first column of the rows that a query finds."""
        async with self.engine.connect() as connection:
            return list((await connection.execute(query)).scalars())

    def writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that writes."""
        return self.engine.execution_options(**WRITES).begin()

    async def write(self, statement: Executable) -> CursorResult[Any]:
        """Run a statement that writes."""
        async with self.writing() as connection:
            result: CursorResult[Any] = await connection.execute(statement)
            return result
