"""Counts compared with a recount in plain Python."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari_telemetry.wire import Level

from aggregation import compute
from aggregation import counting as counting_module
from aggregation.catalogue import CATALOGUE, Dimension, Entry
from aggregation.compute import CountingError, count_week, public_cells
from aggregation.counting import Counting, Counts
from aggregation.publish import publish_week
from aggregation.stores import raw_postgresql, raw_sqlite
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.raw import RawStore
from aggregation.stores.reports import RawRow, Report
from tests.support.reports import WEEK, count_people, expected, random_reports, report

LATER = datetime(2026, 11, 1, tzinfo=UTC)


async def published(aggregate: AggregateStore, entry: Entry) -> dict[tuple[str, ...], int]:
    rows = await aggregate.numbers(entry, {})
    return {tuple(row.values[dimension.name] for dimension in entry.dimensions): row.people for row in rows}


@pytest.mark.parametrize(("seed", "people"), [(1, 0), (2, 9), (3, 10), (4, 60), (5, 400)])
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_every_cell_of_every_entry_agrees_with_a_recount(
    raw: RawStore, aggregate: AggregateStore, monkeypatch: pytest.MonkeyPatch, seed: int, people: int, elsewhere: bool
) -> None:
    for store in (raw_sqlite, raw_postgresql):  # small batches, which must not split a person
        monkeypatch.setattr(store, "ROWS_AT_A_TIME", 7)
    if elsewhere:
        monkeypatch.setattr(compute, "MAX_COUNTED_IN_PROCESS", 0)
    reports = random_reports(seed, people)
    await raw.put([*reports, *random_reports(seed + 100, 50, week="2026-W41")])
    await publish_week(raw, aggregate, WEEK, LATER)
    right = expected(reports)
    for entry in CATALOGUE:
        assert await published(aggregate, entry) == right[entry.id], entry.id


async def test_a_new_entry_needs_only_a_declaration(raw: RawStore, aggregate: AggregateStore) -> None:
    entry = Entry(
        "plugins-by-system",
        "plugins",
        "On which systems is a plugin used?",
        Level.MIDDLE,
        "On which systems to test it.",
        (Dimension("plugin", "Plugin", "plugins", "name"), Dimension("system", "System", "sys_name")),
        1,
    )
    await raw.put([report(person) for person in range(12)])
    await publish_week(raw, aggregate, WEEK, LATER, catalogue=(entry,))
    assert await published(aggregate, entry) == {("affinder", "Debian 12"): 10}


VALUE = st.sampled_from(["a", "b", "c"])
LEVELS = st.sampled_from(["basic", "middle", "full"])


@st.composite
def any_report(draw: st.DrawFn) -> Report:
    """Draw a report of one of thirty people."""
    level = draw(LEVELS)
    fields = ("napari_version", "python_version", "platform", "cpu_architecture", "sys_name")
    document: dict[str, Any] = {name: draw(VALUE) for name in fields} | {"first_report": draw(st.booleans())}
    if level != "basic" and draw(st.booleans()):
        document["plugins"] = draw(st.lists(st.fixed_dictionaries({"name": VALUE, "version": VALUE}), max_size=4))
    if level == "full" and draw(st.booleans()):
        document["command_usage"] = draw(st.dictionaries(VALUE, st.sampled_from([1, 10, 100]), max_size=3))
        numbers, words = st.integers(0, 3), VALUE
        layer = {"layer": words, "size_category": words, "class": words, "dtype": words, "ndim": numbers, "count": numbers}
        document["data_size_info"] = draw(st.lists(st.fixed_dictionaries(layer), max_size=4))
    return Report(WEEK, f"{draw(st.integers(0, 29)):032x}", f"{draw(st.integers(0, 7)):08x}", 1, level, 1, document)


@given(st.lists(any_report(), max_size=80), st.integers(1, 4))
def test_any_reports_give_the_same_counts_as_a_recount(reports: list[Report], parts: int) -> None:
    """The distribution of people over parts does not matter."""
    held = {(report.identifier, report.environment): report for report in reports}
    counts = Counts({})
    for part in range(parts):
        counting = Counting(CATALOGUE)
        counting.add(
            (report.identifier, report.environment, 1, report.level, 1, json.dumps(report.document))
            for _, report in sorted(held.items(), key=itemgetter(0))
            if int(report.identifier, 16) % parts == part
        )
        counts.add(counting.counts())
    for entry in CATALOGUE:
        assert counts.people[entry.id] == count_people(entry, held.values()), entry.id
    assert counts.reports == len(held)
    public, right = list(public_cells(counts, CATALOGUE, WEEK)), expected(held.values())
    for entry in CATALOGUE:
        width = len(entry.dimensions)
        mine = {
            tuple(cell[f"value_{n}"] for n in range(1, width + 1)): cell["people"]
            for cell in public
            if cell["entry"] == entry.id
        }
        assert mine == right[entry.id]


async def test_a_failed_counting_process_fails_the_publication(
    raw: RawStore, aggregate: AggregateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await raw.put(random_reports(7, 100))
    monkeypatch.setattr(compute, "MAX_COUNTED_IN_PROCESS", 0)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(CountingError, match="exited with code 1"):
        await publish_week(raw, aggregate, WEEK, LATER)
    assert await aggregate.published_weeks() == []


async def test_a_failure_leaves_no_process_behind(raw: RawStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "MAX_COUNTED_IN_PROCESS", 0)
    await raw.put(random_reports(8, 60))
    started: list[asyncio.subprocess.Process] = []
    real = asyncio.create_subprocess_exec

    async def noted(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        started.append(await real(*arguments, **options))
        return started[-1]

    def fails(_: int, __: int) -> None:
        raise RuntimeError("the terminal is gone")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    with pytest.raises(RuntimeError):
        await count_week(raw, WEEK, CATALOGUE, fails, workers=3)
    assert len(started) >= 3
    assert all(process.returncode is not None for process in started)


async def test_deletion_during_counting_never_splits_a_person(raw: RawStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some people, each with two environments, delete their reports between two batches."""
    for store in (raw_sqlite, raw_postgresql):
        monkeypatch.setattr(store, "ROWS_AT_A_TIME", 5)
    plugins = [[{"name": name, "version": "1.0"}] for name in ("affinder", "napari-svg")]
    await raw.put([report(person, number, plugins=plugins[number]) for person in range(40) for number in range(2)])
    real, going = raw.rows, iter([35, 3, 36, 37, 4])

    async def rows(week: str, first: str = "", last: str = "g") -> AsyncGenerator[list[RawRow]]:
        async for some in real(week, first, last):
            yield some
            if (person := next(going, None)) is not None:
                deleting.append(asyncio.create_task(raw.delete(report(person).identifier)))
                await asyncio.sleep(0)

    deleting: list[asyncio.Task[int]] = []
    monkeypatch.setattr(raw, "rows", rows)
    counts = await count_week(raw, WEEK, CATALOGUE)
    assert len(await asyncio.gather(*deleting)) == 5
    (people,) = counts.people["people"].values()
    assert 35 <= people <= 40
    of_plugin = counts.people["plugins"]
    assert of_plugin[("affinder",)] == of_plugin[("napari-svg",)] == people


async def test_fields_above_the_level_are_not_counted(raw: RawStore, aggregate: AggregateStore) -> None:
    plugins = [{"name": "affinder", "version": "0.5.0"}]
    await raw.put([report(person, level="basic", plugins=plugins) for person in range(12)])
    await publish_week(raw, aggregate, WEEK, LATER)
    assert {entry.level for entry in CATALOGUE if await published(aggregate, entry)} == {Level.BASIC}


def test_older_reports_are_excluded_only_from_newer_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older reports still count for all other questions."""
    monkeypatch.setitem(counting_module._SINCE, "channel", 2)
    monkeypatch.setattr(counting_module, "KNOWN_SCHEMA_VERSIONS", frozenset({1, 2}))
    dimensions = (Dimension("channel", "Channel", "channel"),)
    counting = Counting((Entry("all", "x", "?", Level.BASIC, "."), Entry("by-channel", "x", "?", Level.BASIC, ".", dimensions)))
    counting.add([("1", "a", 1, "basic", 1, "{}"), ("2", "a", 1, "basic", 2, '{"channel": "pypi"}')])
    counts = counting.counts()
    assert (counts.people, counts.left_out, counts.newer) == ({"all": {(): 2}, "by-channel": {("pypi",): 1}}, 0, 0)


def test_an_entry_that_explodes_two_lists_is_rejected() -> None:
    dimensions = (Dimension("plugin", "Plugin", "plugins", "name"), Dimension("command", "Command", "command_usage", "@key"))
    with pytest.raises(ValueError, match="more than one field"):
        Counting((Entry("bad", "x", "?", Level.FULL, ".", dimensions),))
