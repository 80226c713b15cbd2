"""Scheduled jobs: each runs in one process at a time and leaves a record.

APScheduler 3 cannot share its job stores, so each process keeps its own schedule. Processes share a lock and the
table of runs. The lock is an advisory lock on PostgreSQL, or a file if the store is SQLite or the work is for one data folder.
"""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from aggregation.clock import Clock
from aggregation.status import WAS_STOPPED
from aggregation.stores.aggregate import AggregateStore

T = TypeVar("T")
Work = Callable[[], Awaitable[str | None]]
"""Returns None, or why it failed, in a sentence."""

LOCK_CLASS = 0x6E617069
SECONDS_BETWEEN_TRIES = 0.5
RETRY_AFTER = timedelta(seconds=60)
STOP_TIMEOUT_S = 5.0

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def wait_for_lock(
    engine: AsyncEngine, job: str, lock_folder: Path, on_wait: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """Acquire the lock of ``job``, waiting if needed; then ``on_wait`` is called once."""
    is_told = False
    while True:
        async with job_lock(engine, job, lock_folder) as is_free:
            if is_free:
                yield
                return
        if not is_told:
            is_told = True
            on_wait()
        await asyncio.sleep(SECONDS_BETWEEN_TRIES)


@contextlib.asynccontextmanager
async def job_lock(engine: AsyncEngine | None, job: str, lock_folder: Path) -> AsyncIterator[bool]:
    """Try to hold the lock of ``job`` for a block; yields whether it was free. It is released even if the process is killed."""
    if engine is not None and engine.dialect.name == "postgresql":
        async with engine.connect() as connection:
            key = {"class": LOCK_CLASS, "job": zlib.crc32(job.encode()) & 0x7FFFFFFF}
            is_free = bool(await connection.scalar(sa.text("SELECT pg_try_advisory_lock(:class, :job)"), key))
            try:
                yield is_free
            finally:
                if is_free:
                    await connection.execute(sa.text("SELECT pg_advisory_unlock(:class, :job)"), key)
        return
    lock_folder.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(lock_folder / f"{job}.lock", timeout=0, thread_local=False).acquire()
    except Timeout:
        yield False
        return
    with held:
        yield True


class JobScheduler(AsyncIOScheduler):  # type: ignore[misc]
    """Runs jobs in the event loop."""

    def __init__(self, aggregate: AggregateStore, clock: Clock, lock_folder: Path) -> None:
        super().__init__(timezone="UTC")
        self._aggregate = aggregate
        self._clock = clock
        self._lock_folder = lock_folder
        self._runs: set[asyncio.Task[object]] = set()

    def add(self, name: str, work: Work, seconds: int, *, for_folder: bool = False) -> None:
        """Schedule ``work`` every ``seconds``, starting now. ``for_folder``: it writes to the data folder, so it runs once per
        folder and not once per database.
        """

        async def run() -> None:
            this = asyncio.current_task()
            assert this is not None
            self._runs.add(this)
            this.add_done_callback(self._runs.discard)
            try:
                await self.run_once(name, work, for_folder=for_folder)
            except asyncio.CancelledError:
                log.info("job_stopped", job=name)
            except (SQLAlchemyError, OSError) as error:  # no lock without its store: the job is still due
                log.error("job_not_run", job=name, error=type(error).__name__)
                self.retry(name, RETRY_AFTER)

        self.add_job(
            run,
            "interval",
            seconds=seconds,
            jitter=min(60, seconds // 2),
            id=name,
            next_run_time=datetime.now(UTC),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,  # a loop that was busy for a second must not drop a run
        )

    def _process_jobs(self) -> float | None:
        """Run a job now if its next run is far away, because the clock was set back."""
        now = datetime.now(UTC)
        for job in self.get_jobs():
            if job.next_run_time - now > 2 * job.trigger.interval:
                job.modify(next_run_time=now)
        wait: float | None = super()._process_jobs()
        return wait

    def retry(self, name: str, after: timedelta) -> None:
        """Run a job again after some time instead of a whole interval."""
        self.modify_job(name, next_run_time=datetime.now(UTC) + after)

    async def run_once(self, name: str, work: Work, *, for_folder: bool = False) -> bool:
        """Run ``work`` unless another process does, and record how it ended. Return whether it ran.

        What ``work`` raises is recorded and logged. Raises SQLAlchemyError or OSError if the lock can't be acquired.
        """
        engine = None if for_folder else self._aggregate.engine
        async with job_lock(engine, name, self._lock_folder) as is_free:
            if not is_free:
                log.info("job_runs_elsewhere", job=name)
                return False
            run = await _recorded(self._aggregate.job_started(name, self._clock.now()), name)
            error: str | None = WAS_STOPPED
            try:
                error = await work()
            except Exception as failure:
                error = f"{type(failure).__name__}: {failure}"
                log.exception("job_failed", job=name)
            finally:
                if run is not None:
                    await _recorded(self._aggregate.job_ended(run, self._clock.now(), error), name)
        return True

    async def stop(self) -> None:
        """Start no more jobs, cancel those that run, and wait for them, up to `STOP_TIMEOUT_S`.

        An event loop that ends earlier would cancel them again while their connections close: with aiosqlite that never ends.
        """
        self.shutdown(wait=False)
        await asyncio.sleep(0)  # the shutdown takes effect in the loop's next turn, in which a job may still start
        if runs := set(self._runs):
            await asyncio.wait(runs, timeout=STOP_TIMEOUT_S)


async def _recorded(record: Awaitable[T], job: str) -> T | None:
    """Write a record, or log that it failed: a job matters more than its record."""
    try:
        return await record
    except (SQLAlchemyError, OSError) as error:
        log.warning("job_not_recorded", job=job, error=type(error).__name__)
        return None
