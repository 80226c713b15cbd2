"""Scheduled jobs: each runs in one process at a time, and its runs are recorded.

APScheduler 3 cannot share its job stores, so each process keeps its own schedule. Processes share a lock per job and the
table of runs. The lock is an advisory lock on PostgreSQL; for SQLite, or a job that works on a data folder, it is a file.
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
"""A job's function. It returns None, or the reason why it failed."""

LOCK_CLASS = 0x6E617069
LOCK_POLL_S = 0.5
RETRY_AFTER = timedelta(seconds=60)
STOP_TIMEOUT_S = 5.0

log = structlog.get_logger()


@contextlib.asynccontextmanager
async def wait_for_lock(
    engine: AsyncEngine, job: str, lock_folder: Path, on_wait: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """Acquire the lock of ``job`` for a block. If it must wait, it calls ``on_wait`` once."""
    is_notified = False
    while True:
        async with job_lock(engine, job, lock_folder) as is_free:
            if is_free:
                yield
                return
        if not is_notified:
            is_notified = True
            on_wait()
        await asyncio.sleep(LOCK_POLL_S)


@contextlib.asynccontextmanager
async def job_lock(engine: AsyncEngine | None, job: str, lock_folder: Path) -> AsyncIterator[bool]:
    """Try to acquire the lock of ``job`` for a block; yield whether it was free. A killed process releases it too."""
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
    """A scheduler that runs jobs in the event loop."""

    def __init__(self, aggregate: AggregateStore, clock: Clock, lock_folder: Path) -> None:
        super().__init__(timezone="UTC")
        self._aggregate = aggregate
        self._clock = clock
        self._lock_folder = lock_folder
        self._runs: set[asyncio.Task[object]] = set()

    def add(self, name: str, work: Work, seconds: int, *, for_folder: bool = False) -> None:
        """Schedule ``work`` every ``seconds``, starting now. ``for_folder``: the job writes to the data folder, so it
        runs once per folder instead of once per database.
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
            except (SQLAlchemyError, OSError) as error:  # the lock or its store is unavailable: the job is still due
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
            misfire_grace_time=None,  # run late instead of never if the event loop was busy
        )

    def _process_jobs(self) -> float | None:
        """Run a job now if its next run is more than two intervals away: the clock was set back."""
        now = datetime.now(UTC)
        for job in self.get_jobs():
            if job.next_run_time - now > 2 * job.trigger.interval:
                job.modify(next_run_time=now)
        wait: float | None = super()._process_jobs()
        return wait

    def retry(self, name: str, after: timedelta) -> None:
        """Run a job again ``after`` this time instead of a whole interval."""
        self.modify_job(name, next_run_time=datetime.now(UTC) + after)

    async def run_once(self, name: str, work: Work, *, for_folder: bool = False) -> bool:
        """Run ``work`` unless another process is running it, and record the result. Return whether it ran.

        Exceptions of ``work`` are recorded and logged. Raises SQLAlchemyError or OSError if the lock can't be acquired.
        """
        engine = None if for_folder else self._aggregate.engine
        async with job_lock(engine, name, self._lock_folder) as is_free:
            if not is_free:
                log.info("job_runs_elsewhere", job=name)
                return False
            run = await _record_or_log(self._aggregate.job_started(name, self._clock.now()), name)
            error: str | None = WAS_STOPPED
            try:
                error = await work()
            except Exception as failure:
                error = f"{type(failure).__name__}: {failure}"
                log.exception("job_failed", job=name)
            finally:
                if run is not None:
                    await _record_or_log(self._aggregate.job_ended(run, self._clock.now(), error), name)
        return True

    async def stop(self) -> None:
        """Stop scheduling, cancel the running jobs, and wait up to `STOP_TIMEOUT_S` for them to end.

        Otherwise, the closing event loop would cancel them again while they close connections, and aiosqlite would hang.
        """
        self.shutdown(wait=False)
        await asyncio.sleep(0)  # shutdown takes effect in the next loop iteration, and a job may still start in it
        if runs := set(self._runs):
            await asyncio.wait(runs, timeout=STOP_TIMEOUT_S)


async def _record_or_log(record: Awaitable[T], job: str) -> T | None:
    """Write a record; if that fails, log it and continue, because the job matters more."""
    try:
        return await record
    except (SQLAlchemyError, OSError) as error:
        log.warning("job_not_recorded", job=job, error=type(error).__name__)
        return None
