from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari_telemetry.weeks import next_week

from aggregation.certificates.statement import CertificateError, State
from tests.support.certificates import retraction, statement


def test_a_statement_has_weeks_median_and_peak() -> None:
    one = statement()
    assert [(week.week, week.state, week.people) for week in one.weeks] == [
        ("2026-W38", "listed", 20),
        ("2026-W39", "listed", 35),
        ("2026-W40", "fewer", None),
        ("2026-W41", "unpublished", None),
    ]
    assert (one.installs.median, one.installs.peak, one.installs.peak_week, one.installs.listed) == (20, 35, "2026-W39", 2)


@pytest.mark.parametrize(
    ("numbers", "median"),
    [
        ({"2026-W38": 20, "2026-W39": 35, "2026-W40": 50}, 35),
        ({"2026-W38": 20, "2026-W39": 35}, 20),  # the third week is published, with fewer than ten
        ({"2026-W38": 20}, None),  # most weeks have fewer than ten
    ],
)
def test_a_median_is_a_published_number_or_fewer_than_ten(numbers: dict[str, int], median: int | None) -> None:
    assert statement(numbers).installs.median == median


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60))
def test_every_figure_is_a_published_number(counts: list[int]) -> None:
    weeks = ["2026-W01"]
    while len(weeks) < len(counts):
        weeks.append(next_week(weeks[-1]))
    numbers = {week: count // 5 * 5 for week, count in zip(weeks, counts, strict=True) if count >= 10}
    try:
        one = statement(numbers, first=weeks[0], last=weeks[-1], published=tuple(weeks), by_python={"3.11": numbers})
    except CertificateError:
        assert not numbers
        return
    for summary in (one.installs, *(row.summary for breakdown in one.breakdowns for row in breakdown.rows)):
        assert summary.median in {None, *numbers.values()}
        assert summary.peak == max(numbers.values())
    # at least half of all weeks have at most the median
    at_most = sum(numbers.get(week, 0) <= (one.installs.median or 9) for week in weeks)
    assert at_most * 2 >= len(weeks)


def test_breakdowns_omit_rows_of_fewer_than_ten() -> None:
    one = statement(by_python={"3.11": {"2026-W39": 10}})
    assert [(row.value, row.summary.median, row.summary.peak) for row in one.breakdowns[0].rows] == [("3.11", None, 10)]
    assert one.breakdowns[1].rows == []


def test_a_retracted_week_is_marked_and_not_counted() -> None:
    one = statement({"2026-W38": 20}, published=("2026-W38", "2026-W39"), retractions=(retraction(plugin="affinder"),))
    states: dict[str, State] = {week.week: week.state for week in one.weeks}
    assert states["2026-W39"] == "retracted"
    assert one.installs.median == 20
    assert one.retractions[0].reason == "Forged reports"


def test_a_retracted_breakdown_is_marked_as_retracted() -> None:
    gone = retraction("plugins-by-platform", plugin="affinder")
    assert [one.retracted for one in statement(retractions=(gone,)).breakdowns] == [False, True]


def test_a_statement_without_unretracted_numbers_is_an_error() -> None:
    gone = tuple(retraction(plugin="affinder", week=week) for week in ("2026-W38", "2026-W39"))
    with pytest.raises(CertificateError, match="they were retracted"):
        statement({}, retractions=gone)
