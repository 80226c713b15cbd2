"""The SQL against a recount in plain Python, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from napari_update_hook.wire import Level

from aggregation.catalogue import CATALOGUE, Dimension, Entry
from aggregation.counting import Counting
from aggregation.publish import Outcome, publish_week
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.raw import RawStore
from tests.support.reports import WEEK, expected, random_reports, report

LATER = datetime(2026, 11, 1, tzinfo=UTC)


async def published(aggregate: AggregateStore, entry: Entry) -> dict[tuple[str, ...], int]:
    page = await aggregate.rows(entry, {}, limit=100_000)
    return {tuple(row.values[dimension.name] for dimension in entry.dimensions): row.people for row in page.rows}


@pytest.mark.parametrize(("seed", "people"), [(1, 0), (2, 9), (3, 10), (4, 60), (5, 400)])
async def test_every_cell_of_every_entry_agrees_with_a_recount(
    raw: RawStore, aggregate: AggregateStore, seed: int, people: int
) -> None:
    reports = random_reports(seed, people)
    await raw.put([*reports, *random_reports(seed + 100, 50, week="2026-W41")])
    await publish_week(raw, aggregate, WEEK, LATER)
    for entry in CATALOGUE:
        assert await published(aggregate, entry) == expected(entry, reports), entry.id


async def test_a_person_counts_once_in_a_cell_however_many_environments_there_are(
    raw: RawStore, aggregate: AggregateStore
) -> None:
    await raw.put([report(person, environment) for person in range(9) for environment in range(8)])
    publication = await publish_week(raw, aggregate, WEEK, LATER)
    assert (publication.outcome, publication.cells, publication.reports) == (Outcome.PUBLISHED, 0, 72)


async def test_a_person_with_two_pythons_counts_under_both(raw: RawStore, aggregate: AggregateStore) -> None:
    await raw.put(
        [
            report(person, environment, python_version=python)
            for person in range(10)
            for environment, python in enumerate(["3.10", "3.11"])
        ]
    )
    await publish_week(raw, aggregate, WEEK, LATER)
    by_python = next(entry for entry in CATALOGUE if entry.by == ("python",) and not entry.fixed)
    assert await published(aggregate, by_python) == {("3.10",): 10, ("3.11",): 10}


async def test_a_new_entry_is_one_declaration(raw: RawStore, aggregate: AggregateStore) -> None:
    entry = Entry(
        "plugins-by-system",
        "plugins",
        "On which systems is a plugin used?",
        Level.MIDDLE,
        (Dimension("plugin", "Plugin", "plugins", "name"), Dimension("system", "System", "sys_name")),
        1,
    )
    await raw.put([report(person) for person in range(12)])
    await publish_week(raw, aggregate, WEEK, LATER, catalogue=(entry,))
    assert await published(aggregate, entry) == {("affinder", "Debian 12"): 10}


def test_an_entry_that_lays_out_two_lists_is_refused() -> None:
    dimensions = (Dimension("plugin", "Plugin", "plugins", "name"), Dimension("command", "Command", "command_usage", "@key"))
    with pytest.raises(ValueError, match="more than one field"):
        Counting((Entry("bad", "x", "?", Level.FULL, dimensions),))
