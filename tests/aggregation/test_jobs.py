from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from napari_update_hook.weeks import published_from

from aggregation import schedule
from aggregation.clock import Clock
from aggregation.jobs import job_lock, run_job
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.raw import RawStore
from tests.support.reports import WEEK, report


def now() -> datetime:
    return datetime.now(UTC)


async def test_a_job_runs_once_however_many_processes_schedule_it(aggregate: AggregateStore, tmp_path: Path) -> None:
    running, release, ran = asyncio.Event(), asyncio.Event(), 0

    async def work() -> None:
        nonlocal ran
        ran += 1
        running.set()
        await release.wait()

    first = asyncio.create_task(run_job(aggregate, "refresh", work, now, tmp_path))
    await running.wait()
    assert await run_job(aggregate, "refresh", work, now, tmp_path) is False
    release.set()
    assert await first is True
    assert ran == 1
    assert await run_job(aggregate, "refresh", work, now, tmp_path) is True


async def test_a_lock_is_for_one_job(aggregate: AggregateStore, tmp_path: Path) -> None:
    async with job_lock(aggregate.engine, "a", tmp_path) as first, job_lock(aggregate.engine, "b", tmp_path) as second:
        assert (first, second) == (True, True)


async def test_every_run_and_failure_is_written_down(aggregate: AggregateStore, tmp_path: Path) -> None:
    async def fails() -> None:
        raise RuntimeError("no disk")

    async def says_why() -> str:
        return "the upstream is down"

    await run_job(aggregate, "publish", fails, now, tmp_path)
    await run_job(aggregate, "refresh", says_why, now, tmp_path)
    runs = {run.job: run for run in await aggregate.last_job_runs()}
    assert runs["publish"].error == "RuntimeError: no disk"
    assert runs["refresh"].error == "the upstream is down"
    assert all(run.ended_at for run in runs.values())


async def test_a_job_that_is_stopped_says_so(aggregate: AggregateStore, tmp_path: Path) -> None:
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run_job(aggregate, "publish", work, now, tmp_path))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (run,) = await aggregate.last_job_runs()
    assert run.error == "was stopped"


async def test_the_jobs_publish_what_is_due_and_purge_what_is_old(
    raw: RawStore, aggregate: AggregateStore, tmp_path: Path
) -> None:
    await raw.put([report(person) for person in range(12)] + [report(1, week="2026-W30")])
    scheduler = AsyncIOScheduler(timezone="UTC")
    schedule.register(scheduler, raw, aggregate, Clock(published_from(WEEK)), tmp_path)
    scheduler.start()
    try:
        for _ in range(200):
            runs = await aggregate.last_job_runs()
            if len([run for run in runs if run.ended_at]) == 3:
                break
            await asyncio.sleep(0.05)
    finally:
        scheduler.shutdown(wait=False)
    assert WEEK in await aggregate.published_weeks()
    assert await raw.weeks() == [WEEK]


async def test_a_job_runs_even_if_it_can_not_be_recorded(tmp_path: Path) -> None:
    from aggregation.stores.engines import make_engine

    unmigrated = AggregateStore(make_engine(f"sqlite+aiosqlite:///{tmp_path / 'empty.sqlite3'}"))
    ran = False

    async def work() -> None:
        nonlocal ran
        ran = True

    assert await run_job(unmigrated, "refresh", work, now, tmp_path)
    assert ran
    await unmigrated.engine.dispose()


async def test_a_job_whose_lock_cannot_be_had_is_tried_again_soon(tmp_path: Path) -> None:
    from datetime import timedelta

    from aggregation.stores.engines import make_engine

    away = AggregateStore(make_engine("postgresql+asyncpg://x:y@127.0.0.1:9/nowhere"))
    scheduler = AsyncIOScheduler(timezone="UTC")

    async def work() -> None:
        pytest.fail("without its lock a job must not run")

    schedule.add(scheduler, "refresh", work, away, Clock(), tmp_path, seconds=7200)
    scheduler.start()
    await asyncio.sleep(1)
    due = scheduler.get_job("refresh").next_run_time
    scheduler.shutdown(wait=False)
    assert due - now() < timedelta(seconds=90)
