"""Engines for the two stores, with what each database needs to keep our promises."""

from pathlib import Path
from typing import Any

from sqlalchemy import event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

WRITES = {"sqlite_begin": "BEGIN IMMEDIATE"}
"""Execution options of a transaction that writes: on SQLite it waits for its turn instead of failing half way."""

BUSY_TIMEOUT_MS = 10_000
"""So long SQLite waits for its turn to write."""
SYNCHRONOUS = "FULL"
"""A commit waits until the disk has it."""


def make_engine(url: str, **options: Any) -> AsyncEngine:
    """Return an engine for a store's URL. ``options``: of SQLAlchemy's engine, on PostgreSQL.

    SQLite: WAL with ``synchronous=FULL``, so that a commit is durable; explicit BEGIN, because the driver's own rules leave
    reads outside of the transaction. PostgreSQL: a pool that notices a restart. Errors of either come without the parameters
    of a statement, which would carry identifiers into a log.
    """
    if make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url, **{"pool_pre_ping": True, "hide_parameters": True} | options)
    database = make_url(url).database
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
        Path(database).touch(mode=0o600)  # how much is hidden in a week is for nobody else on this machine
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
