"""Python support of plugins, today and in previous months."""

from __future__ import annotations

from tests.support.facts import facts_of
from update_server.index.coverage import coverage_of
from update_server.index.table import make_tables

FACTS = facts_of()


def test_the_trend_counts_the_newest_release_of_each_month() -> None:
    coverage = coverage_of(FACTS, make_tables(FACTS, {}, 86400))
    assert coverage.pythons == ["3.8", "3.9", "3.10", "3.11", "3.12"]
    assert coverage.packages == 5, "napari is not a plugin"
    by_day = {one.day: one for one in coverage.months}
    assert by_day["2025-04-01"].fits == (1, 1, 1, 1, 1)  # affinder 0.4.0
    assert by_day["2026-05-01"].fits == (1, 1, 1, 1, 2)  # and napari-harpy
    assert by_day["2026-10-01"].fits == (0, 1, 1, 1, 2)  # affinder 0.5.0
