"""Count a week in this process or, if it is large, in several worker processes.

SQL and columnar engines are slower (docs/decisions.md). Each person's reports are read together, so a deletion during the
count removes either all or none of a person's reports from it.
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

MAX_COUNTED_IN_PROCESS = 4000
"""Up to this many reports, counting is faster than starting worker processes."""
MAX_WORKERS = 4
BOUNDS = ("", *"2468ace", "g")
"""Boundaries that split a large week into eight parts of equal size: identifiers are hexadecimal hashes."""

Progress = Callable[[int, int], None]
"""A callback that receives the number of counted reports and the total."""


class CountingError(Exception):
    """A worker process failed."""


class WeekPart(Struct):
    """A worker's input: a week's reports with ``first`` <= identifier < ``last``."""

    url: str
    week: str
    first: str
    last: str
    catalogue: tuple[Entry, ...]


async def count_week(
    raw: RawStore, week: str, catalogue: Sequence[Entry], progress: Progress | None = None, *, workers: int | None = None
) -> Counts:
    """Count all entries of a catalogue for a closed week.

    ``workers``: number of processes for a large week; by default one per processor, at most four. Memory use depends only
    on the number of cells. Raises CountingError.
    """
    total = (await raw.count([week])).get(week, 0)
    counts = Counts({entry.id: {} for entry in catalogue})
    free = asyncio.Semaphore(workers or min(os.cpu_count() or 1, MAX_WORKERS))

    async def count(first: str, last: str) -> None:
        part = WeekPart(raw.url, week, first, last, tuple(catalogue))
        async with free:
            counts.add(await (count_part(raw, part) if total <= MAX_COUNTED_IN_PROCESS else _count_in_subprocess(part)))
        if progress:
            progress(counts.reports, total)

    if total <= MAX_COUNTED_IN_PROCESS:
        await count(BOUNDS[0], BOUNDS[-1])
        return counts
    try:
        async with asyncio.TaskGroup() as parts:
            for first, last in pairwise(BOUNDS):
                parts.create_task(count(first, last))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return counts


async def count_part(raw: RawStore, part: WeekPart) -> Counts:
    """Count a part of a week in this process."""
    counting = Counting(part.catalogue)
    held: list[RawRow] = []
    async with contextlib.aclosing(raw.rows(part.week, part.first, part.last)) as parts:
        async for rows in parts:
            held += rows
            whole = next((place for place in range(len(held) - 1, 0, -1) if held[place - 1][0] != held[place][0]), 0)
            await asyncio.to_thread(counting.add, held[:whole])  # hold back the last person's rows: more may follow
            del held[:whole]
    counting.add(held)
    return counting.counts()


async def _count_in_subprocess(part: WeekPart) -> Counts:
    """Count in a subprocess. The part is passed on standard input, to hide the URL's password from `ps`."""
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
            f"a worker process exited with code {process.returncode} before it finished; check whether it ran out of memory"
        )
    return msgspec.msgpack.decode(answer, type=Counts)


def public_cells(counts: Counts, catalogue: Sequence[Entry], week: str) -> Iterator[dict[str, Any]]:
    """Yield the public numbers as rows of the table ``cells``."""
    for id_, cells in published(counts.people, catalogue).items():
        for values, people in sorted(cells.items()):
            padded = [*values, *[""] * (MAX_DIMENSIONS - len(values))]
            yield {"entry": id_, "week": week, "people": people} | {
                f"value_{place}": one for place, one in enumerate(padded, 1)
            }


async def _worker() -> None:
    part = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=WeekPart)
    raw = open_raw_store(part.url)
    try:
        sys.stdout.buffer.write(msgspec.msgpack.encode(await count_part(raw, part)))
    finally:
        await raw.close()


if __name__ == "__main__":
    gc.disable()  # the counts have no cycles, and the collector takes a third of the time
    asyncio.run(_worker())
