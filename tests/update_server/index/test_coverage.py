"""What supports which Python, today and in the months before."""

from __future__ import annotations

from datetime import date

from tests.support.facts import facts_of
from update_server.index.compatibility import pypi_classes
from update_server.index.coverage import support_by_month

FACTS = facts_of()
PYTHONS = ["3.8", "3.9", "3.10", "3.11", "3.12"]
CLASSES = pypi_classes(FACTS.packages, range(8, 13))


def test_the_trend_counts_the_newest_release_of_each_month() -> None:
    trend = support_by_month(FACTS.packages, CLASSES, PYTHONS, date(2026, 10, 15), months=24)
    by_day = {one.day: one for one in trend}
    assert trend[0].day == "2025-02-01"
    assert (by_day["2025-02-01"].packages, by_day["2025-02-01"].fits) == (1, (0, 1, 1, 1, 1))  # napari 0.5.6
    assert by_day["2026-05-01"].fits == (1, 1, 2, 2, 3)  # affinder 0.4.0, napari 0.7.1, napari-harpy
    assert by_day["2026-10-01"].fits == (0, 1, 1, 2, 3)  # affinder 0.5.0, napari 0.8.0
