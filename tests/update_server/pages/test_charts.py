"""Charts: order of values and weeks, and how missing numbers are shown."""

from __future__ import annotations

from typing import Any

from napari_telemetry.weeks import publishable_from

from aggregation.catalogue import CATALOGUE, Entry
from aggregation.publish import publish_week
from aggregation.stores.records import Records
from tests.support.reports import report
from tests.update_server.conftest import Client, services_of
from update_server.pages.charts import HIDDEN, MAX_LINES, RETRACTED, Chart, chart_of, colours_of

WEEKS = ["2026-W38", "2026-W39", "2026-W40"]


def entry(name: str) -> Entry:
    return next(one for one in CATALOGUE if one.id == name)


async def publish(client: Client, week: str, *groups: tuple[int, dict[str, Any]]) -> None:
    """Publish a week. ``groups``: (number of people, changes to the default report)."""
    services = services_of(client)
    assert services.raw is not None
    first = 0
    for count, changes in groups:
        await services.raw.put([report(person, week=week, **changes) for person in range(first, first + count)])
        first += count
    await publish_week(services.raw, services.aggregate, week, publishable_from(week))


async def chart(client: Client, name: str, subject: str | None = None) -> Chart:
    aggregate = services_of(client).aggregate
    taken_back = await Records(aggregate.engine).retractions()
    return await chart_of(aggregate, entry(name), await aggregate.public_weeks(), taken_back, subject)


def texts(shown: Chart) -> list[list[str]]:
    return [list(row.cells) for row in shown.rows]


async def test_values_are_lines_in_version_order_and_gaps_are_not_zeros(client: Client) -> None:
    await publish(client, WEEKS[0], (23, {"python_version": "3.9"}), (12, {"python_version": "3.10"}))
    await publish(client, WEEKS[1], (9, {"python_version": "3.9"}), (31, {"python_version": "3.10"}))
    shown = await chart(client, "people-by-python")
    assert (shown.kind, shown.columns) == ("lines", ("3.9", "3.10"))
    assert [row.head for row in shown.rows] == [(WEEKS[0],), (WEEKS[1],)]
    assert texts(shown) == [["20", "10"], [HIDDEN, "30"]]
    assert shown.figure is None
    assert shown.links["CSV"] == "/api/stats/napari?by=python&from=2026-W38&to=2026-W39&format=csv"


async def test_only_the_values_with_the_largest_numbers_in_any_week_are_drawn(client: Client) -> None:
    versions = [f"0.{number}.0" for number in range(1, 12)]
    many = [(10 + number, {"napari_version": version}) for number, version in enumerate(versions)]
    await publish(client, WEEKS[0], (60, {"napari_version": "0.0.1"}))
    await publish(client, WEEKS[1], *many)
    shown = await chart(client, "people-by-napari")
    assert len(shown.columns) == MAX_LINES
    assert "0.0.1" in shown.columns, "a trend includes values that have declined"
    assert shown.note == f"The files have {12 - MAX_LINES} more rows, with smaller numbers."


async def test_combinations_are_bars_for_the_last_week_largest_first(client: Client) -> None:
    await publish(client, WEEKS[0], (40, {"platform": "win32"}))
    await publish(client, WEEKS[1], (12, {"platform": "darwin", "cpu_architecture": "arm64"}), (33, {}))
    shown = await chart(client, "people-by-platform")
    assert (shown.kind, shown.caption) == ("bars", f"People in {WEEKS[1]}")
    assert [row.head for row in shown.rows] == [("Linux", "x86_64"), ("macOS", "arm64")]
    assert texts(shown) == [["30"], ["10"]]


async def test_retracted_numbers_are_labelled_as_retracted_not_as_small(client: Client) -> None:
    for week in WEEKS[:2]:
        await publish(client, week, (23, {}))
    people = entry("people-by-python")
    store = Records(services_of(client).aggregate.engine)
    await store.retract([(people, {"python": "3.11"}, WEEKS[0], WEEKS[0])], "forged reports", publishable_from(WEEKS[1]))
    shown = await chart(client, "people-by-python")
    assert texts(shown) == [[RETRACTED], ["20"]]
    assert [one.reason for one in shown.retractions] == ["forged reports"]
    await store.retract([(people, {"python": "3.11"}, WEEKS[1], WEEKS[1])], "forged reports", publishable_from(WEEKS[1]))
    shown = await chart(client, "people-by-python")
    assert (shown.rows, "retracted" in shown.note, "fewer" in shown.note) == ((), True, False)


def test_a_version_has_the_same_colour_in_all_charts() -> None:
    newest_first = [f"3.{minor}" for minor in range(14, 7, -1)]
    assert colours_of(["3.12", "3.13", "3.14"], newest_first) == (3, 2, 1)
    assert colours_of(["3.9", "3.12"], newest_first) == (6, 3)
    assert colours_of(["linux", "windows"], newest_first) == (1, 2)
    naparis = [f"0.{minor}.{patch}" for minor in range(8, 0, -1) for patch in (6, 1)]
    many = colours_of(naparis[::2], naparis)
    assert sorted(many) == [1, 2, 3, 4, 5, 6, 7, 8], "no two lines of a chart share a colour"
