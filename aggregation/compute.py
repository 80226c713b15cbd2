"""Count a week: in this process or, if the week is large, in several.

SQL and columnar engines are slower (docs/decisions.md). Each person's reports are read together, so anyone who deletes theirs
during the count is counted fully or not at all.
"""

import asyncio
import contextlib
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import Struct

from aggregation.catalogue import MAX_DIMENSIONS, Entry
from aggregation.counting import Counting, Counts
from aggregation.publication import published
from aggregation.stores.raw import RawStore, open_raw_store
from aggregation.stores.reports import RawRow

COUNTED_HERE = 4000
"""Reports below which counting is faster than starting a process."""
MAX_WORKERS = 4
BOUNDS = ("", *"2468ace", "g")
"""Identifiers that split a large week into eight equal parts: identifiers are hashes."""

Progress = Callable[[int, int], None]
"""Called with the number of reports counted and the total."""


class CountingError(Exception):
    """A worker process failed."""


class Part(Struct):
    """A worker's input. ``last`` is excluded."""

    url: str
    week: str
    first: str
    last: str
    catalogue: tuple[Entry, ...]


async def count_week(
    raw: RawStore, week: str, catalogue: Sequence[Entry], progress: Progress | None = None, *, workers: int | None = None
) -> Counts:
    """Count all entries of a catalogue for a closed week.

    ``workers``: processes for a large week; by default one for each processor, at most four. Memory grows with the number of
    cells only. Raises CountingError.
    """
    total = (await raw.count([week])).get(week, 0)
    counts = Counts({entry.id: {} for entry in catalogue})
    free = asyncio.Semaphore(workers or min(os.cpu_count() or 1, MAX_WORKERS))

    async def count(first: str, last: str) -> None:
        part = Part(raw.url, week, first, last, tuple(catalogue))
        async with free:
            counts.add(await (count_part(raw, part) if total <= COUNTED_HERE else _count_elsewhere(part)))
        if progress:
            progress(counts.reports, total)

    if total <= COUNTED_HERE:
        await count(BOUNDS[0], BOUNDS[-1])
        return counts
    try:
        async with asyncio.TaskGroup() as parts:
            for first, last in pairwise(BOUNDS):
                parts.create_task(count(first, last))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return counts


async def count_part(raw: RawStore, part: Part) -> Counts:
    counting = Counting(part.catalogue)
    held: list[RawRow] = []
    async with contextlib.aclosing(raw.rows(part.week, part.first, part.last)) as parts:
        async for rows in parts:
            held += rows
            whole = next((place for place in range(len(held) - 1, 0, -1) if held[place - 1][0] != held[place][0]), 0)
            await asyncio.to_thread(counting.add, held[:whole])  # the next rows may belong to the last person
            del held[:whole]
    counting.add(held)
    return counting.counts()


async def _count_elsewhere(part: Part) -> Counts:
    """Count in a subprocess. The part goes through standard input, which hides the URL's password from `ps`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "aggregation.compute", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        answer, _ = await process.communicate(msgspec.msgpack.encode(part))
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise CountingError(
            f"a process that counts ended with code {process.returncode} before it was done; was there enough memory?"
        )
    return msgspec.msgpack.decode(answer, type=Counts)


def public_cells(counts: Counts, catalogue: Sequence[Entry], week: str) -> Iterator[dict[str, Any]]:
    """Yield what of the counts is public, as rows of the table of cells."""
    for id_, cells in published(counts.people, catalogue).items():
        for values, people in sorted(cells.items()):
            padded = [*values, *[""] * (MAX_DIMENSIONS - len(values))]
            yield {"entry": id_, "week": week, "people": people} | {
                f"value_{place}": one for place, one in enumerate(padded, 1)
            }


async def _worker() -> None:
    part = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Part)
    raw = open_raw_store(part.url)
    try:
        sys.stdout.buffer.write(msgspec.msgpack.encode(await count_part(raw, part)))
    finally:
        await raw.close()


if __name__ == "__main__":
    gc.disable()  # the counts have no cycles, and the collector takes a third of the time
    asyncio.run(_worker())
