from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from napari_telemetry.weeks import next_week, start_of, week_of
from sqlalchemy.exc import DBAPIError

from aggregation.status import PURGE_AHEAD, RETENTION, oldest_kept, overdue, purge
from aggregation.stores import raw_postgresql
from aggregation.stores.raw import RawStore
from aggregation.stores.raw_postgresql import PostgresqlReports
from tests.support.reports import WEEK, report
from tests.support.waiting import until


@pytest.mark.promise("deleted-after-60-days")
@given(st.integers(0, 400 * 24 * 3600))
def test_a_week_is_kept_for_sixty_days_after_its_start(seconds: int) -> None:
    now = start_of("2026-W01") + timedelta(seconds=seconds)
    oldest = oldest_kept(now)
    assert now - start_of(oldest) < RETENTION
    before = week_of(start_of(oldest) - timedelta(days=1))
    assert now - start_of(before) >= RETENTION


async def test_the_purge_deletes_only_old_weeks(raw: RawStore) -> None:
    """Purging begins an hour early."""
    await raw.put([report(1, week=WEEK), report(1, week=next_week(WEEK))])
    end = start_of(WEEK) + RETENTION
    assert await purge(raw, end - PURGE_AHEAD - timedelta(seconds=1)) == 0
    assert await overdue(raw, end - timedelta(seconds=1)) == []
    assert await overdue(raw, end) == [WEEK]
    assert await raw.count([WEEK]) == {WEEK: 1}
    assert await purge(raw, end - PURGE_AHEAD) == 1
    assert await raw.weeks() == [next_week(WEEK)]
    assert await overdue(raw, end) == []


async def test_intake_continues_during_a_purge(raw: RawStore) -> None:
    await raw.put([report(person, week=WEEK) for person in range(2000)])
    purging = asyncio.create_task(purge(raw, start_of(WEEK) + RETENTION))
    (outcome,) = await raw.put([report(1, week=next_week(WEEK))])
    assert outcome.stored
    assert await purging == 2000
    assert await raw.weeks() == [next_week(WEEK)]


@pytest.mark.postgresql
async def test_the_purge_retries_during_reads_and_blocks_no_request(
    migrated_postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that waits for the table's lock blocks all later requests."""
    monkeypatch.setattr(raw_postgresql, "RETRY_DELAY_S", 0.1)
    raw = PostgresqlReports(migrated_postgresql_url)
    await raw.put([report(person, week=WEEK) for person in range(10)])

    async def waits_for_a_lock() -> bool:
        async with raw.engine.connect() as looking:
            return bool(await looking.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    async with raw.engine.connect() as reading:
        await reading.execute(sa.text("SELECT week FROM reports"))
        purging = asyncio.create_task(purge(raw, start_of(WEEK) + RETENTION))
        await until(waits_for_a_lock)
        (outcome,) = await asyncio.wait_for(raw.put([report(1, week=next_week(WEEK))]), 10)
        assert outcome.stored
        assert not purging.done()
    assert await purging == 10
    monkeypatch.setattr(raw_postgresql, "ATTEMPTS", 2)
    await raw.put([report(person, week=WEEK) for person in range(10)])
    async with raw.engine.connect() as reading:
        await reading.execute(sa.text("SELECT week FROM reports"))
        with pytest.raises(DBAPIError):  # raised, so that the job's record and the alert show it
            await purge(raw, start_of(WEEK) + RETENTION)
    await raw.close()
