"""Which Pythons does a package support, and how many packages support a Python: what decides when one can be dropped. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from msgspec import Struct

from update_server.index.bodies import MINORS_AHEAD, prepared_minors
from update_server.index.compatibility import candidate_of, pypi_candidates
from update_server.index.model import Facts, Package
from update_server.index.pythons import PythonClasses, PythonVersion

OLDEST_MINOR = 8
"""Older ones are long out of use; telemetry does not name them either."""
MONTHS_BACK = 36


class ReleaseSupport(Struct, frozen=True):
    """One release and the Pythons that can install it. ``fits``: one for each of the Pythons asked about."""

    version: str
    uploaded: str | None
    is_prerelease: bool
    is_yanked: bool
    fits: tuple[bool, ...]


class PythonSupport(Struct, frozen=True):
    """A Python (``"3.11"``) and the names of the packages by what it can install of them."""

    python: str
    newest: tuple[str, ...]
    older: tuple[str, ...]
    nothing: tuple[str, ...]


class MonthSupport(Struct, frozen=True):
    """For how many packages the newest final release of that day fitted each Python. ``fits``: in the order of the Pythons."""

    day: str
    packages: int
    fits: tuple[int, ...]


def shown_pythons(facts: Facts) -> list[str]:
    """Return the Pythons worth showing: from 3.8 to the newest that any release names."""
    newest = prepared_minors(facts)[-1] - MINORS_AHEAD
    return [f"3.{minor}" for minor in range(OLDEST_MINOR, max(newest, OLDEST_MINOR) + 1)]


def releases_of(package: Package, classes: PythonClasses, pythons: Sequence[str]) -> list[ReleaseSupport]:
    """Return every release with files, the newest first."""
    bits = _bits(classes, pythons)
    found = []
    for release in package.releases:
        if release.files:
            candidate = candidate_of(release, classes, None)
            fits = tuple(bool(candidate.fits >> bit & 1) for bit in bits)
            is_yanked = all(file.yanked is not None for file in release.files)
            found.append(ReleaseSupport(release.version, release.uploaded, candidate.is_prerelease, is_yanked, fits))
    return found


def pythons_supported(packages: Iterable[Package], classes: PythonClasses, pythons: Sequence[str]) -> list[PythonSupport]:
    """Return for each Python which packages it can install, and whether that is their newest release."""
    bits = _bits(classes, pythons)
    names: list[tuple[list[str], list[str], list[str]]] = [([], [], []) for _ in pythons]
    for package in packages:
        candidates = pypi_candidates(package, classes)
        finals = [one for one in candidates if not one.is_prerelease] or candidates
        for (newest, older, nothing), bit in zip(names, bits, strict=True):
            if finals and finals[0].fits >> bit & 1:
                newest.append(package.name)
            elif any(one.fits >> bit & 1 for one in candidates):
                older.append(package.name)
            else:
                nothing.append(package.name)
    return [
        PythonSupport(python, *(tuple(sorted(group, key=str.lower)) for group in groups))
        for python, groups in zip(pythons, names, strict=True)
    ]


def support_by_month(
    packages: Iterable[Package], classes: PythonClasses, pythons: Sequence[str], until: date, months: int = MONTHS_BACK
) -> list[MonthSupport]:
    """Return how many packages' newest final release fitted each Python on the first of each month up to ``until``.

    Releases whose day is not known are left out, and yanked ones are where they are today: PyPI does not tell when.
    """
    bits = _bits(classes, pythons)
    days = _firsts_of_months(until, months)
    totals = [0] * len(days)
    counts = [[0] * len(bits) for _ in days]
    for package in packages:
        days_of = {release.version: release.uploaded for release in package.releases}
        finals = [one for one in pypi_candidates(package, classes) if not one.is_prerelease and days_of[one.version]]
        for place, day in enumerate(days):
            newest = next((one for one in finals if (days_of[one.version] or "") <= day), None)
            if newest is not None:
                totals[place] += 1
                for number, bit in enumerate(bits):
                    counts[place][number] += newest.fits >> bit & 1
    return [MonthSupport(day, total, tuple(fits)) for day, total, fits in zip(days, totals, counts, strict=True) if total]


def _bits(classes: PythonClasses, pythons: Sequence[str]) -> list[int]:
    found = []
    for python in pythons:
        cls = classes.of(PythonVersion.parse(python))
        assert cls is not None, "classes must be made for the Pythons that are asked about"
        found.append(cls.bit)
    return found


def _firsts_of_months(until: date, months: int) -> list[str]:
    """The first day of the month of ``until`` and of those before, in order."""
    number = until.year * 12 + until.month - 1
    return [f"{one // 12:04}-{one % 12 + 1:02}-01" for one in range(number - months + 1, number + 1)]
