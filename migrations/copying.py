"""Moves both stores to another database: from the SQLite files of one machine to PostgreSQL, when that becomes too small.

Rows are taken as they are, in the order of their keys, and compared in number at the end. What is there already stays: a store
that holds anything is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aggregation.settings import Store
from aggregation.stores.aggregate_tables import AggregateBase, in_utc
from aggregation.stores.engines import WRITES, make_engine
from aggregation.stores.raw import REPORTS, RawStore
from aggregation.stores.reports import NewReport
from migrations import StoreNotMigratedError, is_current

ROWS_AT_A_TIME = 500

Progress = Callable[[str, int], None]
"""Told a table's name and how many of its rows are copied."""


class CopyError(Exception):
    """Why nothing is copied, or that what arrived is not what was sent, in a sentence."""


async def copy_store(store: Store, source_url: str, target_url: str, progress: Progress = lambda *_: None) -> dict[str, int]:
    """Copy a store; return how many rows each table has. Nobody may write to either meanwhile.

    Raises CopyError, StoreNotMigratedError where either is not at the newest revision, SQLAlchemyError and OSError.
    """
    for url in (source_url, target_url):
        if not await is_current(store, url):
            raise StoreNotMigratedError(f"The {store} store is not migrated: run `update-server db migrate` for it first.")
    source, target = make_engine(source_url), make_engine(target_url)
    try:
        tables = _tables(store)
        if store is Store.RAW:
            await _copy_reports(source, target, progress)
        else:
            await _copy_tables(source, target, tables, progress)
        before, after = await _counted(source, tables), await _counted(target, tables)
        if before != after:
            raise CopyError(
                f"The {store} store changed while it was copied: {before} there, {after} here. Empty it and try again."
            )
        return after
    finally:
        await source.dispose()
        await target.dispose()


async def check_empty(store: Store, target_url: str) -> None:
    """Raises CopyError where a store that is to be copied to holds anything."""
    target = make_engine(target_url)
    try:
        for table, rows in (await _counted(target, _tables(store))).items():
            if rows:
                raise CopyError(f"The {store} store that is copied to holds {rows} rows in {table}: it must be empty.")
    finally:
        await target.dispose()


def _tables(store: Store) -> list[sa.Table]:
    return [REPORTS] if store is Store.RAW else list(AggregateBase.metadata.sorted_tables)


async def _counted(engine: AsyncEngine, tables: list[sa.Table]) -> dict[str, int]:
    async with engine.connect() as connection:
        return {
            table.name: int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0) for table in tables
        }


async def _copy_reports(source: AsyncEngine, target: AsyncEngine, progress: Progress) -> None:
    """Through the store's own way in, which makes the partitions of weeks."""
    store, copied = RawStore(target), 0
    async with source.connect() as connection:
        async for rows in _some_at_a_time(connection, REPORTS):
            stored = await store.put([NewReport(**row) for row in rows])
            if not all(outcome.stored for outcome in stored):
                raise CopyError("The raw store did not take a report. Nobody may send reports while it is copied.")
            copied += len(rows)
            progress(REPORTS.name, copied)


async def _copy_tables(source: AsyncEngine, target: AsyncEngine, tables: list[sa.Table], progress: Progress) -> None:
    """In one transaction: all of it arrives, or nothing."""
    async with source.connect() as reading, target.execution_options(**WRITES).begin() as writing:
        for table in tables:
            copied = 0
            async for rows in _some_at_a_time(reading, table):
                await writing.execute(sa.insert(table), rows)
                copied += len(rows)
                progress(table.name, copied)
            if copied and target.dialect.name == "postgresql":
                await writing.run_sync(_go_on_counting, table)


async def _some_at_a_time(connection: AsyncConnection, table: sa.Table) -> AsyncIterator[list[dict[str, Any]]]:
    result = await connection.stream(sa.select(table).order_by(*table.primary_key.columns))
    async for rows in result.mappings().partitions(ROWS_AT_A_TIME):
        yield [in_utc(row) for row in rows]


def _go_on_counting(connection: Connection, table: sa.Table) -> None:
    """Have a table's numbers go on above those that were copied."""
    for column in table.primary_key.columns:
        named = {"table": table.name, "column": column.name}
        sequence = connection.scalar(sa.text("SELECT pg_get_serial_sequence(:table, :column)"), named)
        if sequence is not None:
            newest = connection.scalar(sa.select(sa.func.max(column)))
            connection.execute(sa.text("SELECT setval(:sequence, :newest)"), {"sequence": sequence, "newest": newest})
