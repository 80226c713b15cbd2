from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
import sqlalchemy as sa
from napari_telemetry.weeks import publishable_from, start_of
from sqlalchemy.exc import ArgumentError

from aggregation import __version__
from aggregation.catalogue import CATALOGUE, catalogue_hash
from aggregation.publish import Outcome, publish_week
from aggregation.status import RETENTION, due_weeks
from aggregation.stores import aggregate as aggregate_module
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.aggregate_tables import AGGREGATION_RUNS
from aggregation.stores.raw import RawStore
from aggregation.stores.records import Records
from tests.support.reports import WEEK, report

TIME = publishable_from(WEEK)
PEOPLE = CATALOGUE[0]


async def people(aggregate: AggregateStore) -> list[int]:
    return [row.people for row in await aggregate.numbers(PEOPLE, {})]


@pytest.mark.promise("published-once")
async def test_a_week_is_published_only_once(raw: RawStore, aggregate: AggregateStore) -> None:
    await raw.put([report(person) for person in range(22)])
    early = await publish_week(raw, aggregate, WEEK, TIME - timedelta(seconds=1))
    assert (early.outcome, early.possible_from) == (Outcome.TOO_EARLY, TIME)
    assert await aggregate.published_weeks() == []
    assert (await publish_week(raw, aggregate, WEEK, TIME)).outcome is Outcome.PUBLISHED
    await raw.put([report(person) for person in range(22, 60)])
    assert (await publish_week(raw, aggregate, WEEK, TIME)).outcome is Outcome.ALREADY
    assert await people(aggregate) == [20]
    assert await aggregate.published_weeks() == [WEEK]


async def test_deletion_before_publication_affects_the_counts(raw: RawStore, aggregate: AggregateStore) -> None:
    await raw.put([report(person) for person in range(15)])
    assert await raw.delete(report(3).identifier) == 1
    await publish_week(raw, aggregate, WEEK, TIME)
    assert await people(aggregate) == [10]


async def test_a_run_is_recorded_for_the_operator(raw: RawStore, aggregate: AggregateStore) -> None:
    damaged = [
        report(60, plugins="damaged"),
        report(61, plugins=[{}]),
        report(62, command_usage=[1]),
        report(63, python_version=[]),
    ]
    await raw.put([*(report(person) for person in range(12)), *damaged])
    publication = await publish_week(raw, aggregate, WEEK, TIME)
    assert (publication.reports, publication.left_out) == (16, 4)
    async with aggregate.engine.connect() as connection:
        (run,) = (await connection.execute(sa.select(AGGREGATION_RUNS))).mappings().all()
    assert (run["week"], run["reports"], run["left_out"], run["cells"]) == (WEEK, 16, 4, publication.cells)
    assert (run["catalogue_hash"], run["code_version"]) == (catalogue_hash(), __version__)
    assert run["duration_s"] > 0
    assert await people(aggregate) == [10]


async def test_a_week_with_reports_of_a_newer_schema_is_not_published(raw: RawStore, aggregate: AggregateStore) -> None:
    await raw.put([*(report(person) for person in range(12)), msgspec.structs.replace(report(50), schema_version=99)])
    publication = await publish_week(raw, aggregate, WEEK, TIME)
    assert (publication.outcome, publication.reports, publication.left_out) == (Outcome.UNREADABLE, 13, 1)
    assert await aggregate.published_weeks() == []


async def test_an_unreadable_week_is_not_published(raw: RawStore, aggregate: AggregateStore) -> None:
    await raw.put([report(person, plugins="damaged") for person in range(12)])
    assert (await publish_week(raw, aggregate, WEEK, TIME)).outcome is Outcome.UNREADABLE
    assert await aggregate.published_weeks() == []


async def test_weeks_without_numbers_are_not_public(raw: RawStore, aggregate: AggregateStore) -> None:
    await raw.put([*(report(person, week="2026-W39") for person in range(9)), *(report(person) for person in range(12))])
    for week in ("2026-W39", WEEK):
        await publish_week(raw, aggregate, week, TIME)
    assert await aggregate.published_weeks() == ["2026-W39", WEEK]
    assert await aggregate.public_weeks() == [WEEK]
    for entry in CATALOGUE:
        await Records(aggregate.engine).retract([(entry, {}, WEEK, WEEK)], "Forged reports", TIME)
    assert await aggregate.public_weeks() == [WEEK]  # it had numbers, and its retractions are public


async def test_every_week_of_a_retraction_is_public(raw: RawStore, aggregate: AggregateStore) -> None:
    weeks = ["2026-W38", "2026-W39", WEEK]
    await raw.put([report(person, week=week) for person in range(12) for week in weeks])
    for week in weeks:
        await publish_week(raw, aggregate, week, TIME)
    for entry in CATALOGUE:
        await Records(aggregate.engine).retract([(entry, {}, weeks[0], weeks[-1])], "Forged reports", TIME)
    assert await aggregate.public_weeks() == weeks


async def test_a_failed_publication_is_rolled_back(
    raw: RawStore, aggregate: AggregateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await raw.put([report(person) for person in range(12)])
    monkeypatch.setattr(aggregate_module, "AGGREGATION_RUNS", "no table")  # written last
    with pytest.raises(ArgumentError):
        await publish_week(raw, aggregate, WEEK, TIME)
    assert await aggregate.published_weeks() == []
    assert await people(aggregate) == []
    monkeypatch.undo()
    assert (await publish_week(raw, aggregate, WEEK, TIME)).outcome is Outcome.PUBLISHED


async def test_a_week_past_its_retention_is_not_published(raw: RawStore, aggregate: AggregateStore) -> None:
    await raw.put([report(person) for person in range(12)])
    late = start_of(WEEK) + RETENTION
    assert await due_weeks(raw, aggregate, late) == []
    assert (await publish_week(raw, aggregate, WEEK, late)).outcome is Outcome.TOO_LATE
    assert (await publish_week(raw, aggregate, WEEK, late - timedelta(seconds=1))).outcome is Outcome.PUBLISHED


async def test_weeks_become_due_at_their_publication_time(raw: RawStore, aggregate: AggregateStore) -> None:
    await raw.put([report(1, week=week) for week in ("2026-W39", WEEK, "2026-W41")])
    assert await due_weeks(raw, aggregate, TIME) == ["2026-W39", WEEK]
    await publish_week(raw, aggregate, "2026-W39", TIME)
    assert await due_weeks(raw, aggregate, TIME) == [WEEK]
