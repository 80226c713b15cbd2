"""The cells of a week: its reports are read as one state, in the order of their key, and counted by processes of their own.

Plain SQL and columnar engines were measured and are no faster (docs/decisions.md, "How a week is counted"). The one statement
below is the same on SQLite and PostgreSQL; everything that differs between two entries is in their declarations.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from aggregation.catalogue import MOST_DIMENSIONS, Entry
from aggregation.counting import Counting, Counts, RawRow
from aggregation.publication import public_number
from aggregation.stores.raw import REPORTS
from aggregation.worker import LENGTH

ROWS_AT_A_TIME = 2000
"""Reports that are read and handed on together: some megabytes."""
COUNTED_HERE = 4000
"""A week with fewer reports is counted in this process, which takes less time than starting another."""
MOST_WORKERS = 4
"""Reading keeps up with so many that count."""
MOST_WAITING = 4 * 2**20
"""Bytes that may wait for a process that counts."""

Progress = Callable[[int, int], None]
"""Told how many reports were read, and of how many."""


class CountingError(Exception):
    """A process that counts has ended before it was done."""


class WeekCounts(Struct, frozen=True):
    """People by cell, exactly, for each entry by its id: for the publication rule, and nobody else.

    ``reports``: how many were read; ``left_out``: how many of them are damaged; ``newer``: how many have a schema version that
    this program does not know.
    """

    people: dict[str, Counter[tuple[str, ...]]]
    reports: int
    left_out: int
    newer: int


async def count_week(
    engine: AsyncEngine, week: str, catalogue: Sequence[Entry], progress: Progress | None = None, *, workers: int | None = None
) -> WeekCounts:
    """Count all entries of a catalogue for a week, on one consistent state of the raw store.

    ``workers``: how many processes count where the week is large; by default one for each processor, at most four. Memory
    grows with the number of cells alone. Raises CountingError.
    """
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
    async with engine.begin() as connection:
        total = await count_reports(connection, week) if progress else 0
        told = (lambda read: progress(read, total)) if progress else None
        async with contextlib.aclosing(_whole_people(_rows(connection, week), told)) as parts:
            first: list[list[RawRow]] = []
            async for part in parts:
                first.append(part)
                if sum(map(len, first)) > COUNTED_HERE:
                    counted = await _count_elsewhere(catalogue, first, parts, workers)
                    break
            else:
                counted = [await asyncio.to_thread(_count_here, catalogue, first)]
    people: dict[str, Counter[tuple[str, ...]]] = {entry.id: Counter() for entry in catalogue}
    for counts in counted:
        for entry, cells in zip(catalogue, counts.people, strict=True):
            for values, number in cells:
                people[entry.id][tuple(values)] += number
    return WeekCounts(
        people,
        sum(counts.reports for counts in counted),
        sum(counts.left_out for counts in counted),
        sum(counts.newer for counts in counted),
    )


def public_cells(counts: WeekCounts, catalogue: Sequence[Entry], week: str) -> Iterator[dict[str, Any]]:
    """Yield what of the counts may be seen, as rows of the table of cells."""
    for entry in catalogue:
        padding = [""] * (MOST_DIMENSIONS - len(entry.dimensions))
        for values, people in counts.people[entry.id].items():
            number = public_number(people)
            if number is not None:
                padded = [*values, *padding]
                of_cell = {f"value_{place}": value for place, value in enumerate(padded, 1)}
                yield {"entry": entry.id, "week": week, **of_cell, "people": number}


async def count_reports(connection: AsyncConnection, week: str) -> int:
    """Return how many reports there are of ``week``."""
    return int(await connection.scalar(sa.select(sa.func.count()).where(REPORTS.c.week == week)) or 0)


async def _rows(connection: AsyncConnection, week: str) -> AsyncGenerator[list[RawRow]]:
    """The reports of a week in the order of their key, some at a time."""
    document = sa.cast(REPORTS.c.document, sa.Text())  # as text: who counts decodes it
    query = (
        sa.select(REPORTS.c.identifier, REPORTS.c.level, REPORTS.c.schema_version, document)
        .where(REPORTS.c.week == week)
        .order_by(REPORTS.c.identifier, REPORTS.c.environment)
    )
    result = await connection.stream(query, execution_options={"yield_per": ROWS_AT_A_TIME})
    try:
        async for rows in result.partitions():
            yield [(identifier, level, version, text) for identifier, level, version, text in rows]
    finally:
        await result.close()


async def _whole_people(
    parts: AsyncGenerator[list[RawRow]], progress: Callable[[int], None] | None
) -> AsyncGenerator[list[RawRow]]:
    """The same reports, cut between two people, so that each person is in one part."""
    held: list[RawRow] = []
    read = 0
    async with contextlib.aclosing(parts):
        async for rows in parts:
            held += rows
            cut = len(held) - 1
            while cut and held[cut - 1][0] == held[-1][0]:
                cut -= 1
            if cut:
                yield held[:cut]
                held = held[cut:]
            read += len(rows)
            if progress:
                progress(read)
    if held:
        yield held


def _count_here(catalogue: Sequence[Entry], parts: Sequence[list[RawRow]]) -> Counts:
    counting = Counting(catalogue)
    for part in parts:
        counting.add(part)
    return counting.counts()


async def _count_elsewhere(
    catalogue: Sequence[Entry], first: list[list[RawRow]], others: AsyncIterator[list[RawRow]], workers: int
) -> list[Counts]:
    """Deal the parts out to processes, and return what each of them counted."""
    async with contextlib.AsyncExitStack() as stack:
        counters = [await stack.enter_async_context(_worker(catalogue)) for _ in range(workers)]

        async def deal(part: list[RawRow]) -> None:
            await min(counters, key=lambda counter: counter.waiting).send(part)

        while first:
            await deal(first.pop(0))
        async for part in others:
            await deal(part)
        return list(await asyncio.gather(*(counter.result() for counter in counters)))


@contextlib.asynccontextmanager
async def _worker(catalogue: Sequence[Entry]) -> AsyncIterator[_Worker]:
    """A process that counts; it ends with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aggregation.worker", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    worker = _Worker(process)
    try:
        await worker.send(catalogue)
        yield worker
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()


class _Worker:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is None or process.stdout is None:
            raise CountingError("a process without pipes")
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        self._stdin.transport.set_write_buffer_limits(high=MOST_WAITING)

    @property
    def waiting(self) -> int:
        """Bytes that the process has still to take."""
        return self._stdin.transport.get_write_buffer_size()

    async def send(self, message: Any) -> None:
        """Hand something over, and wait while too much is waiting."""
        packed = msgspec.msgpack.encode(message)
        try:
            self._stdin.write(len(packed).to_bytes(LENGTH, "big") + packed)
            await self._stdin.drain()
        except ConnectionError as error:
            raise await self._ended() from error

    async def result(self) -> Counts:
        """Say that this was all, and return what was counted."""
        try:
            self._stdin.write(bytes(LENGTH))
            await self._stdin.drain()
        except ConnectionError as error:
            raise await self._ended() from error
        packed = await self._stdout.read()
        if await self._process.wait() or not packed:
            raise await self._ended()
        return msgspec.msgpack.decode(packed, type=Counts)

    async def _ended(self) -> CountingError:
        code = await self._process.wait()
        return CountingError(f"a process that counts ended with code {code} before it was done; was there enough memory?")
