"""Scheduled jobs that run once, however many processes schedule them, and leave a trace.

APScheduler 3 can't share its job stores, so each process keeps its own schedule in memory; what they share is a lock (an
advisory lock on PostgreSQL, a lock file beside SQLite) and the table of runs.
"""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
import structlog
from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from aggregation.standing import WAS_STOPPED
from aggregation.stores.aggregate import AggregateStore

T = TypeVar("T")

log = structlog.get_logger()

LOCK_CLASS = 0x6E617069
SECONDS_BETWEEN_TRIES = 0.5


@contextlib.asynccontextmanager
async def turn(engine: AsyncEngine, job: str, lock_folder: Path, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the lock of ``job`` while inside, and wait where another process is at it; then ``on_wait`` is called once."""
    told = False
    while True:
        async with job_lock(engine, job, lock_folder) as free:
            if free:
                yield
                return
        if not told:
            told = True
            on_wait()
        await asyncio.sleep(SECONDS_BETWEEN_TRIES)


@contextlib.asynccontextmanager
async def job_lock(engine: AsyncEngine, job: str, lock_folder: Path) -> AsyncIterator[bool]:
    """Hold the lock of ``job`` while inside; yields whether it was free. It goes with the process, even a killed one."""
    if engine.dialect.name == "postgresql":
        async with engine.connect() as connection:
            key = {"class": LOCK_CLASS, "job": zlib.crc32(job.encode()) & 0x7FFFFFFF}
            free = bool(await connection.scalar(sa.text("SELECT pg_try_advisory_lock(:class, :job)"), key))
            try:
                yield free
            finally:
                if free:
                    await connection.execute(sa.text("SELECT pg_advisory_unlock(:class, :job)"), key)
        return
    lock_folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_folder / f"{job}.lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


async def run_job(
    aggregate: AggregateStore,
    job: str,
    work: Callable[[], Awaitable[str | None]],
    now: Callable[[], datetime],
    lock_folder: Path,
) -> bool:
    """Run ``work`` unless another process is at it, and write down how it went; tell whether it ran.

    ``work`` returns None, or in a sentence why it failed. What it raises is written down and logged, and goes no further.
    """
    async with job_lock(aggregate.engine, job, lock_folder) as free:
        if not free:
            log.info("job_runs_elsewhere", job=job)
            return False
        run = await _written_down(aggregate.job_started(job, now()), job)
        error: str | None = WAS_STOPPED
        try:
            error = await work()
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
            log.exception("job_failed", job=job)
        finally:
            if run is not None:
                await _written_down(aggregate.job_ended(run, now(), error), job)
    return True


async def _written_down(record: Awaitable[T], job: str) -> T | None:
    """Make a record, or say that it could not be made: a job is worth more than its record."""
    try:
        return await record
    except (SQLAlchemyError, OSError) as error:
        log.warning("job_not_recorded", job=job, error=type(error).__name__)
        return None
