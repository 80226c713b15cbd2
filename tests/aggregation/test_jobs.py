from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from napari_telemetry.weeks import publishable_from, start_of
from structlog.testing import capture_logs

from aggregation import publish, schedule
from aggregation.clock import Clock
from aggregation.compute import CountingError, count_week
from aggregation.jobs import JobScheduler, wait_for_lock
from aggregation.status import RETENTION
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.aggregate_tables import JobRun
from aggregation.stores.raw import RawStore
from tests.support.reports import WEEK, report
from tests.support.waiting import until


def now() -> datetime:
    return datetime.now(UTC)


def scheduler_on(aggregate: AggregateStore, folder: Path) -> JobScheduler:
    return JobScheduler(aggregate, Clock(), folder)


async def test_a_job_runs_in_only_one_process_at_a_time(aggregate: AggregateStore, tmp_path: Path) -> None:
    running, release, ran = asyncio.Event(), asyncio.Event(), 0

    async def work() -> None:
        nonlocal ran
        ran += 1
        running.set()
        await release.wait()

    first = asyncio.create_task(scheduler_on(aggregate, tmp_path).run_once("refresh", work))
    await running.wait()
    assert await scheduler_on(aggregate, tmp_path).run_once("refresh", work) is False
    release.set()
    assert await first is True
    assert ran == 1
    assert await scheduler_on(aggregate, tmp_path).run_once("refresh", work) is True


async def test_a_job_for_a_folder_runs_once_per_folder(aggregate: AggregateStore, tmp_path: Path) -> None:
    """Two machines may share a database; each has its own folder."""
    here, there = (scheduler_on(aggregate, tmp_path / name) for name in ("here", "there"))
    same, ran = scheduler_on(aggregate, tmp_path / "here"), []

    async def work() -> None:
        ran.append(await there.run_once("refresh", finish, for_folder=True))
        ran.append(await same.run_once("refresh", finish, for_folder=True))

    async def finish() -> None:
        pass

    assert await here.run_once("refresh", work, for_folder=True)
    assert ran == [True, False]


async def test_jobs_run_after_the_clock_was_set_back(aggregate: AggregateStore, tmp_path: Path) -> None:
    """Without correction, their next run would be days away."""
    scheduler, ran = scheduler_on(aggregate, tmp_path), []

    async def work() -> None:
        ran.append(1)

    scheduler.add("purge", work, 900)
    scheduler.start()
    await until(lambda: len(ran) == 1 and not scheduler._runs)  # a job that still runs would be skipped
    scheduler.modify_job("purge", next_run_time=now() + timedelta(days=2))
    await until(lambda: len(ran) == 2)
    await scheduler.stop()


async def test_every_run_and_failure_is_recorded(aggregate: AggregateStore, tmp_path: Path) -> None:
    async def fails() -> None:
        raise RuntimeError("no disk")

    async def says_why() -> str:
        return "the upstream is down"

    await scheduler_on(aggregate, tmp_path).run_once("publish", fails)
    await scheduler_on(aggregate, tmp_path).run_once("refresh", says_why)
    runs = {run.job: run for run in await aggregate.last_job_runs()}
    assert runs["publish"].error == "RuntimeError: no disk"
    assert runs["refresh"].error == "the upstream is down"
    assert all(run.ended_at for run in runs.values())


async def run_jobs_once(raw: RawStore, aggregate: AggregateStore, moment: datetime, folder: Path) -> dict[str, JobRun]:
    """Run each job once and return its record."""
    scheduler = JobScheduler(aggregate, Clock(moment), folder)
    schedule.register(scheduler, raw, aggregate, Clock(moment))
    scheduler.start()
    try:

        async def ended() -> dict[str, JobRun]:
            return {run.job: run for run in await aggregate.last_job_runs() if run.ended_at}

        async def all_ended() -> bool:
            return len(await ended()) == 3

        await until(all_ended)
        return await ended()
    finally:
        await scheduler.stop()


async def test_a_failed_aggregation_does_not_block_the_purge(
    raw: RawStore, aggregate: AggregateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise CountingError("no memory")

    monkeypatch.setattr(publish, "count_week", fails)
    await raw.put([report(person, week=week) for person in range(12) for week in (WEEK, "2026-W46")])
    later = start_of(WEEK) + RETENTION - timedelta(minutes=30)  # due for purging within the hour
    runs = await run_jobs_once(raw, aggregate, later, tmp_path)
    assert runs["publish"].error in (f"{WEEK}: CountingError: no memory", None)  # None if the purge was first
    assert runs["purge"].error is None
    assert await raw.weeks() == ["2026-W46"]
    assert await aggregate.published_weeks() == []


async def test_a_failing_week_does_not_block_other_weeks(
    raw: RawStore, aggregate: AggregateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = count_week

    async def fails(engine: Any, week: str, *rest: Any, **named: Any) -> Any:
        if week == "2026-W39":
            raise CountingError("no memory")
        return await real(engine, week, *rest, **named)

    monkeypatch.setattr(publish, "count_week", fails)
    await raw.put([report(person, week=week) for person in range(12) for week in ("2026-W39", WEEK)])
    runs = await run_jobs_once(raw, aggregate, publishable_from(WEEK), tmp_path)
    assert await aggregate.published_weeks() == [WEEK]
    assert runs["publish"].error == "2026-W39: CountingError: no memory"


async def test_an_incomplete_purge_is_a_failure(
    raw: RawStore, aggregate: AggregateStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(_: str) -> int:
        return 0

    monkeypatch.setattr(raw, "delete_before", nothing)
    await raw.put([report(person, week="2026-W30") for person in range(12)])
    runs = await run_jobs_once(raw, aggregate, publishable_from(WEEK), tmp_path)
    assert runs["purge"].error == "raw reports of 2026-W30 are still there"


async def test_the_next_run_marks_a_killed_run(aggregate: AggregateStore, tmp_path: Path) -> None:
    await aggregate.job_started("publish", now())  # but its end is never recorded

    async def work() -> None:
        return None

    await scheduler_on(aggregate, tmp_path).run_once("publish", work)
    (failed,) = await aggregate.failed_job_runs()
    assert (failed.job, failed.error) == ("publish", "was killed")
    assert [run.error for run in await aggregate.last_job_runs()] == [None]


async def test_waiting_for_a_lock_is_reported_once(aggregate: AggregateStore, tmp_path: Path) -> None:
    told: list[int] = []
    order: list[str] = []

    async def second() -> None:
        async with wait_for_lock(aggregate.engine, "publish", tmp_path, lambda: told.append(1)):
            order.append("second")

    async with wait_for_lock(aggregate.engine, "publish", tmp_path, lambda: pytest.fail("the lock was free")):
        waiting = asyncio.create_task(second())
        await until(lambda: bool(told))
        order.append("first")
    await waiting
    assert (order, told) == (["first", "second"], [1])


async def test_a_job_runs_even_if_it_cannot_be_recorded(tmp_path: Path) -> None:
    from aggregation.stores.engines import make_engine

    unmigrated = AggregateStore(make_engine(f"sqlite+aiosqlite:///{tmp_path / 'empty.sqlite3'}"))
    ran = False

    async def work() -> None:
        nonlocal ran
        ran = True

    assert await scheduler_on(unmigrated, tmp_path).run_once("refresh", work)
    assert ran
    await unmigrated.engine.dispose()


async def test_a_job_is_retried_soon_if_its_lock_is_unavailable(tmp_path: Path) -> None:
    from datetime import timedelta

    from aggregation.stores.engines import make_engine

    away = AggregateStore(make_engine("postgresql+asyncpg://x:y@127.0.0.1:9/nowhere"))
    scheduler = scheduler_on(away, tmp_path)

    async def work() -> None:
        pytest.fail("a job must not run without its lock")

    scheduler.add("refresh", work, 7200)
    scheduler.start()
    soon = now() + timedelta(seconds=90)
    await until(lambda: scheduler.get_job("refresh").next_run_time < soon)
    await scheduler.stop()


async def test_a_stopped_scheduler_leaves_no_tasks_behind(aggregate: AggregateStore, tmp_path: Path) -> None:
    """Connections of aiosqlite may never close if they are cancelled twice."""
    before = asyncio.all_tasks()
    for number in range(20):
        scheduler, is_begun = scheduler_on(aggregate, tmp_path), asyncio.Event()

        async def work(is_begun: asyncio.Event = is_begun) -> None:
            is_begun.set()
            while True:
                await aggregate.last_job_runs()

        scheduler.add("refresh", work, 7200)
        scheduler.start()
        await is_begun.wait()
        await asyncio.sleep(number / 2000)
        await scheduler.stop()
        assert asyncio.all_tasks() == before
    assert {run.error for run in await aggregate.last_job_runs()} == {"was stopped"}


async def test_old_job_runs_are_deleted_except_the_last(aggregate: AggregateStore) -> None:
    for days in (200, 100, 1):
        run = await aggregate.job_started("publish", now() - timedelta(days=days))
        await aggregate.job_ended(run, now() - timedelta(days=days), "failed" if days == 100 else None)
    run = await aggregate.job_started("seldom", now() - timedelta(days=300))
    await aggregate.job_ended(run, now() - timedelta(days=300), None)
    assert len(await aggregate.failed_job_runs()) == 1
    await aggregate.delete_job_runs(now() - schedule.RECORD_RETENTION)
    assert await aggregate.failed_job_runs() == []
    assert [run.job for run in await aggregate.last_job_runs()] == ["publish", "seldom"]


async def test_a_week_about_to_be_lost_is_logged(raw: RawStore, aggregate: AggregateStore, tmp_path: Path) -> None:
    await raw.put([report(person, plugins="damaged") for person in range(12)])  # can never be published
    for days, expected in ((8, []), (6, ["week_about_to_be_lost"])):
        clock = Clock(start_of(WEEK) + RETENTION - timedelta(days=days))
        scheduler = JobScheduler(aggregate, clock, tmp_path / str(days))
        schedule.register(scheduler, raw, aggregate, clock)
        with capture_logs() as lines:
            await scheduler.get_job("publish").func()
        assert [line["event"] for line in lines if line["log_level"] == "warning"] == expected
