"""Engines for the two stores, with what each database needs to keep our promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

WRITES = {"sqlite_begin": "BEGIN IMMEDIATE"}
"""Execution options of a transaction that writes: on SQLite it waits for its turn instead of failing half way."""

BUSY_TIMEOUT_MS = 10_000
"""So long SQLite waits for its turn to write."""
PRAGMAS: tuple[str, ...] = (
    f"busy_timeout = {BUSY_TIMEOUT_MS}",
    "page_size = 8192",  # of a new file: a usual report has a page of 4,096 bytes to itself, and another for what is left of it
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",
)


def make_engine(url: str) -> AsyncEngine:
    """Return an engine for a store's URL.

    SQLite: WAL with ``synchronous=FULL``, so that a commit is durable; ``secure_delete``, so that deleted is gone; explicit
    BEGIN, because the driver's own rules leave reads outside of the transaction. PostgreSQL: a pool that notices a restart.
    Errors of either come without the parameters of a statement, which would carry identifiers into a log.
    """
    if make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url, pool_pre_ping=True, hide_parameters=True)
    database = make_url(url).database
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
        Path(database).touch(mode=0o600)  # raw reports are for nobody else on this machine
    engine = create_async_engine(url, hide_parameters=True)
    event.listen(engine.sync_engine, "connect", _prepare_new)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_new(connection: Any, _: Any) -> None:
    connection.isolation_level = None
    prepare_sqlite(connection)


def prepare_sqlite(connection: Any) -> None:
    """Set up a connection to SQLite, of the standard library or of a driver that looks like it."""
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))
