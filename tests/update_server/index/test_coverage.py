"""What supports which Python, today and in the months before."""

from __future__ import annotations

from datetime import date

from tests.support.facts import facts_of
from update_server.index.compatibility import pypi_classes
from update_server.index.coverage import pythons_supported, releases_of, shown_pythons, support_by_month

FACTS = facts_of()
PACKAGES = FACTS.by_key()
PYTHONS = ["3.8", "3.9", "3.10", "3.11", "3.12"]
CLASSES = pypi_classes(FACTS.packages, range(8, 13))


def test_a_release_fits_the_pythons_that_pip_would_install_it_on() -> None:
    newest, candidate, oldest = releases_of(PACKAGES["affinder"], CLASSES, PYTHONS)
    assert (newest.version, newest.uploaded, newest.fits) == ("0.5.0", "2026-06-01", (False, True, True, True, True))
    assert candidate.is_prerelease
    assert oldest.fits == (True,) * 5
    (compiled,) = releases_of(PACKAGES["compiled-plugin"], CLASSES, PYTHONS)
    assert compiled.fits == (False, True, False, False, False)
    yanked = releases_of(PACKAGES["some-plugin"], CLASSES, PYTHONS)[1]
    assert (yanked.version, yanked.is_yanked) == ("1.1.0", True)


def test_each_package_is_in_one_group_of_each_python() -> None:
    supports = {one.python: one for one in pythons_supported(FACTS.packages, CLASSES, PYTHONS)}
    for one in supports.values():
        assert len({*one.newest, *one.older, *one.nothing}) == len(PACKAGES) == len(one.newest + one.older + one.nothing)
    assert "affinder" in supports["3.8"].older
    assert "affinder" in supports["3.9"].newest
    assert "napari-harpy" in supports["3.11"].nothing
    assert "napari-harpy" in supports["3.12"].newest


def test_the_trend_counts_the_newest_release_of_each_month() -> None:
    trend = support_by_month(FACTS.packages, CLASSES, PYTHONS, date(2026, 10, 15), months=24)
    by_day = {one.day: one for one in trend}
    assert trend[0].day == "2025-02-01"
    assert (by_day["2025-02-01"].packages, by_day["2025-02-01"].fits) == (1, (0, 1, 1, 1, 1))  # napari 0.5.6
    assert by_day["2026-05-01"].fits == (1, 1, 2, 2, 3)  # affinder 0.4.0, napari 0.7.1, napari-harpy
    assert by_day["2026-10-01"].fits == (0, 1, 1, 2, 3)  # affinder 0.5.0, napari 0.8.0


def test_the_pythons_that_are_shown_end_with_the_newest_that_anything_names() -> None:
    assert shown_pythons(FACTS) == PYTHONS
