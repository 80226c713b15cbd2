from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from napari_update_hook.weeks import InvalidWeekError, published_from

from aggregation import compute, publish
from aggregation.catalogue import CATALOGUE, catalogue_hash
from aggregation.publish import Outcome, due_weeks, publish_week
from aggregation.stores.aggregate import AGGREGATION_RUNS, AggregateStore
from aggregation.stores.raw import RawStore
from tests.support.reports import WEEK, report

TIME = published_from(WEEK)
PEOPLE = CATALOGUE[0]


async def people(aggregate: AggregateStore) -> list[int]:
    return [row.people for row in (await aggregate.rows(PEOPLE, {})).rows]


async def test_a_week_is_published_once_and_stays(raw: RawStore, aggregate: AggregateStore) -> None:
    await raw.put([report(person) for person in range(22)])
    early = await publish_week(raw, aggregate, WEEK, TIME - timedelta(seconds=1))
    assert (early.outcome, early.possible_from) == (Outcome.TOO_EARLY, TIME)
    assert await aggregate.published_weeks() == []
    assert (await publish_week(raw, aggregate, WEEK, TIME)).outcome is Outcome.PUBLISHED
    await raw.put([report(person) for person in range(22, 60)])
    assert (await publish_week(raw, aggregate, WEEK, TIME)).outcome is Outcome.ALREADY
    assert await people(aggregate) == [20]
    assert await aggregate.published_weeks() == [WEEK]


async def test_a_deletion_counts_until_the_week_is_published(raw: RawStore, aggregate: AggregateStore) -> None:
    await raw.put([report(person) for person in range(15)])
    assert await raw.delete(report(3).identifier) == 1
    await publish_week(raw, aggregate, WEEK, TIME)
    assert await people(aggregate) == [10]


async def test_a_run_is_recorded_for_the_operator(raw: RawStore, aggregate: AggregateStore) -> None:
    await raw.put([report(person) for person in range(12)])
    await publish_week(raw, aggregate, WEEK, TIME)
    async with aggregate.engine.connect() as connection:
        (run,) = (await connection.execute(sa.select(AGGREGATION_RUNS))).mappings().all()
    assert (run["week"], run["reports"], run["catalogue_hash"]) == (WEEK, 12, catalogue_hash())


async def test_a_failure_in_the_middle_leaves_no_half_week(
    raw: RawStore, aggregate: AggregateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await raw.put([report(person) for person in range(12)])

    def break_off(entries: object) -> object:
        yield CATALOGUE[0]
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        await publish_week(raw, aggregate, WEEK, TIME, progress=break_off)  # type: ignore[arg-type]
    assert await aggregate.published_weeks() == []
    assert await people(aggregate) == []
    assert (await publish_week(raw, aggregate, WEEK, TIME)).outcome is Outcome.PUBLISHED


async def test_weeks_are_due_once_their_time_has_come(raw: RawStore, aggregate: AggregateStore) -> None:
    await raw.put([report(1, week=week) for week in ("2026-W39", WEEK, "2026-W41")])
    assert await due_weeks(raw, aggregate, TIME) == ["2026-W39", WEEK]
    await publish_week(raw, aggregate, "2026-W39", TIME)
    assert await due_weeks(raw, aggregate, TIME) == [WEEK]


async def test_an_unknown_week_is_refused(raw: RawStore, aggregate: AggregateStore) -> None:
    with pytest.raises(InvalidWeekError):
        await publish_week(raw, aggregate, "2025-W53", datetime(2027, 1, 1, tzinfo=UTC))


async def test_a_week_is_read_as_one_state_though_reports_keep_coming(
    raw: RawStore, aggregate: AggregateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each entry ten more people report: all numbers are still those of the state at the beginning."""
    await raw.put([report(person) for person in range(20)])
    late = iter(range(100, 1000))
    real = compute.cells_of

    async def cells_of(*arguments: Any) -> Any:
        cells = await real(*arguments)
        await raw.put([report(next(late)) for _ in range(10)])
        return cells

    monkeypatch.setattr(publish, "cells_of", cells_of)
    await publish_week(raw, aggregate, WEEK, TIME)
    for entry in CATALOGUE:
        assert {row.people for row in (await aggregate.rows(entry, {})).rows} <= {20}, entry.id
    assert await people(aggregate) == [20]
