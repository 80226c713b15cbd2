from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from napari_update_hook.weeks import next_week, start_of, week_of

from aggregation.retention import AHEAD, RETENTION, oldest_kept, overdue, purge
from aggregation.stores.raw import RawStore
from tests.support.reports import WEEK, report


@given(st.integers(0, 400 * 24 * 3600))
def test_a_week_is_kept_for_sixty_days_after_it_began_and_no_longer(seconds: int) -> None:
    now = start_of("2026-W01") + timedelta(seconds=seconds)
    oldest = oldest_kept(now)
    assert now - start_of(oldest) < RETENTION
    before = week_of(start_of(oldest) - timedelta(days=1))
    assert now - start_of(before) >= RETENTION


async def test_old_weeks_go_and_others_stay(raw: RawStore) -> None:
    """An hour ahead of time, so that a run which is late is in time all the same."""
    await raw.put([report(1, week=WEEK), report(1, week=next_week(WEEK))])
    end = start_of(WEEK) + RETENTION
    assert await purge(raw, end - AHEAD - timedelta(seconds=1)) == 0
    assert await overdue(raw, end - timedelta(seconds=1)) == []
    assert await overdue(raw, end) == [WEEK]
    assert await raw.count_before(next_week(WEEK)) == {WEEK: 1}
    assert await purge(raw, end - AHEAD) == 1
    assert await raw.weeks() == [next_week(WEEK)]
    assert await overdue(raw, end) == []
