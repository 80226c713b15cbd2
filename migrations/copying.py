"""Moves both stores to another database: from the SQLite files of one machine to PostgreSQL, when that becomes too small.

Rows are taken as they are, in the order of their keys, and compared in number at the end. What is there already stays: a store
that holds anything is refused.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aggregation.settings import Store
from aggregation.stores.aggregate_tables import AggregateBase, in_utc
from aggregation.stores.engines import WRITES, make_engine
from aggregation.stores.raw import RawStore, open_raw_store
from aggregation.stores.reports import report_of

ROWS_AT_A_TIME = 500
TABLES = AggregateBase.metadata.sorted_tables

Progress = Callable[[str, int], None]
"""Told a table's name and how many of its rows are copied."""


class CopyError(Exception):
    """Why nothing is copied, or that what arrived is not what was sent, in a sentence."""


async def copy_stores(source: Mapping[Store, str], target: Mapping[Store, str], progress: Progress) -> dict[str, int]:
    """Copy both stores, by their URLs; return how many rows each table has. Nobody may write to any of them meanwhile.

    Nothing is copied unless what is copied to is empty. Raises CopyError, SQLAlchemyError and OSError.
    """
    raw, new_raw = open_raw_store(source[Store.RAW]), open_raw_store(target[Store.RAW])
    numbers, new_numbers = make_engine(source[Store.AGGREGATE]), make_engine(target[Store.AGGREGATE])
    try:
        for table, rows in {**await _counted(new_numbers), "reports": len(await new_raw.weeks())}.items():
            if rows:
                raise CopyError(f"The store that is copied to holds something in {table}: it must be empty.")
        await _copy_reports(raw, new_raw, progress)
        await _copy_tables(numbers, new_numbers, progress)
        before, after = [
            {**await _counted(engine), "reports": sum((await reports.count(await reports.weeks())).values())}
            for engine, reports in ((numbers, raw), (new_numbers, new_raw))
        ]
        if before != after:
            raise CopyError(
                f"The stores changed while they were copied: {before} there, {after} here. Empty them and try again."
            )
        return after
    finally:
        for reports in (raw, new_raw):
            await reports.close()
        for engine in (numbers, new_numbers):
            await engine.dispose()


async def _counted(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        return {
            table.name: int(await connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0) for table in TABLES
        }


async def _copy_reports(source: RawStore, target: RawStore, progress: Progress) -> None:
    """Through the store's own way in, which makes the partitions of weeks."""
    copied = 0
    for week in await source.weeks():
        async for rows in source.rows(week):
            stored = await target.put([report_of(week, row) for row in rows])
            if not all(outcome.stored for outcome in stored):
                raise CopyError("A report was not taken. Nobody may send reports while they are copied.")
            copied += len(rows)
            progress("reports", copied)


async def _copy_tables(source: AsyncEngine, target: AsyncEngine, progress: Progress) -> None:
    """In one transaction: all of it arrives, or nothing."""
    async with source.connect() as reading, target.execution_options(**WRITES).begin() as writing:
        for table in TABLES:
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
