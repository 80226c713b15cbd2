"""Python versions that packages support, and counts of packages by Python version. Pure functions."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cache

from msgspec import Struct

from update_server.index.compatibility import Candidate, Compatibility, yanked_releases
from update_server.index.model import Facts, Package, is_prerelease
from update_server.index.pythons import MINORS_AHEAD, OLDEST_MINOR, PythonVersion
from update_server.index.table import Tables, instant_text

MONTHS_SHOWN = 36


class ReleaseSupport(Struct, frozen=True):
    """Compatibility of one release, for a plugin's page.

    ``pythons``: such as ``3.10 to 3.13``. ``requires_napari``: alternative specifiers, empty if any version is allowed,
    None if the metadata was never read.
    """

    version: str
    uploaded: str | None
    is_prerelease: bool
    is_yanked: bool
    pythons: str
    requires_napari: tuple[str, ...] | None = None


class PythonSupport(Struct, frozen=True):
    """Names of packages by the release that a Python version (``"3.11"``) can install: newest, only older ones, or none."""

    python: str
    newest: tuple[str, ...]
    older: tuple[str, ...]
    nothing: tuple[str, ...]


class MonthSupport(Struct, frozen=True):
    """Support on the first day of a month.

    ``fits``: by Python version, the number of packages whose newest final release supported it.
    """

    day: str
    packages: int
    fits: tuple[int, ...]


class Coverage(Struct, frozen=True):
    """Python versions that the plugins of the index support.

    ``packages``: number of plugins. ``months``: with ``fits`` in the order of ``pythons``.
    """

    as_of: str
    packages: int
    pythons: list[str]
    supports: list[PythonSupport]
    months: list[MonthSupport]


def coverage_of(facts: Facts, tables: Tables) -> Coverage:
    listed = [package for package in facts.packages if package.key != "napari"]
    pythons = shown_pythons(tables)
    on_pypi = tables.compatibility["pypi"]
    return Coverage(
        as_of=instant_text(facts.as_of),
        packages=len(listed),
        pythons=pythons,
        supports=[_supports(python, listed, on_pypi) for python in pythons],
        months=_by_month(listed, on_pypi, pythons, facts.as_of.date()),
    )


def supports_table(coverage: Coverage) -> str:
    rows = [(one.python, len(one.newest), len(one.older), len(one.nothing)) for one in coverage.supports]
    return _csv(["python", "newest_fits", "only_older_fits", "nothing_fits"], rows)


def months_table(coverage: Coverage) -> str:
    return _csv(["day", "packages", *coverage.pythons], [(one.day, one.packages, *one.fits) for one in coverage.months])


def _csv(header: Sequence[str], rows: Iterable[Sequence[str | int]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def shown_pythons(tables: Tables) -> list[str]:
    """Return the minor versions from 3.8 to the newest that a release names."""
    return [f"3.{minor}" for minor in range(OLDEST_MINOR, tables.last_minor - MINORS_AHEAD + 1)]


def release_support(package: Package, compatibility: Compatibility, pythons: Sequence[str]) -> list[ReleaseSupport]:
    """Return every release with files, newest first."""
    candidates = {candidate.version: candidate for candidate in compatibility.candidates}
    yanked = yanked_releases(package.releases)
    return [
        ReleaseSupport(
            release.version,
            release.uploaded,
            is_prerelease(release.version),
            release.version in yanked,
            _range(compatibility, candidates.get(release.version), pythons),
            _naparis(candidates[release.version]) if release.version in candidates and release.requires is not None else None,
        )
        for release in package.releases
        if release.files
    ]


def newest_pythons(compatibility: Compatibility, pythons: Sequence[str]) -> str:
    """Return the Python versions of the newest final release, such as ``3.10 to 3.13``."""
    finals = [one for one in compatibility.candidates if not one.is_prerelease] or list(compatibility.candidates)
    return _range(compatibility, finals[0] if finals else None, pythons)


def _range(compatibility: Compatibility, candidate: Candidate | None, pythons: Sequence[str]) -> str:
    bits = _bits(compatibility, pythons)
    fitting = [number for number, bit in enumerate(bits) if candidate and candidate.pythons & bit]
    if not fitting:
        return ""
    if len(fitting) > 1 and fitting[-1] - fitting[0] + 1 == len(fitting):
        return f"{pythons[fitting[0]]} to {pythons[fitting[-1]]}"
    return ", ".join(pythons[number] for number in fitting)


def _naparis(candidate: Candidate) -> tuple[str, ...]:
    """Return alternative requirements on napari, empty if any version is allowed."""
    found = tuple(dict.fromkeys(str(one.requires_napari or "") for one in candidate.alternatives))
    return () if "" in found else found


def _supports(python: str, packages: Sequence[Package], on_pypi: Mapping[str, Compatibility]) -> PythonSupport:
    names: tuple[list[str], list[str], list[str]] = ([], [], [])
    newest, older, nothing = names
    for package in packages:
        compatibility = on_pypi[package.key]
        (bit,) = _bits(compatibility, [python])
        finals = [one for one in compatibility.candidates if not one.is_prerelease] or compatibility.candidates
        if finals and finals[0].pythons & bit:
            newest.append(package.name)
        elif any(one.pythons & bit for one in compatibility.candidates):
            older.append(package.name)
        else:
            nothing.append(package.name)
    return PythonSupport(python, *(tuple(sorted(group, key=str.lower)) for group in names))


def _by_month(
    packages: Sequence[Package], on_pypi: Mapping[str, Compatibility], pythons: Sequence[str], until: date
) -> list[MonthSupport]:
    """Return support by month. Releases without a date and yanked releases are ignored: PyPI does not date yanks."""
    days = _firsts_of_months(until, MONTHS_SHOWN)
    totals = [0] * len(days)
    counts = [[0] * len(pythons) for _ in days]
    for package in packages:
        compatibility, uploaded = on_pypi[package.key], {release.version: release.uploaded for release in package.releases}
        bits = _bits(compatibility, pythons)
        finals = [(uploaded.get(one.version), one.pythons) for one in compatibility.candidates if not one.is_prerelease]
        for number, day in enumerate(days):
            newest = next((fits for released, fits in finals if released and released <= day), None)
            if newest is not None:
                totals[number] += 1
                counts[number] = [count + bool(newest & bit) for count, bit in zip(counts[number], bits, strict=True)]
    return [MonthSupport(day, total, tuple(fits)) for day, total, fits in zip(days, totals, counts, strict=True) if total]


def _bits(compatibility: Compatibility, pythons: Sequence[str]) -> list[int]:
    return [compatibility.domain.bit(_parsed(python)) for python in pythons]


@cache
def _parsed(python: str) -> PythonVersion:
    return PythonVersion.parse(python)


def _firsts_of_months(until: date, months: int) -> list[str]:
    number = until.year * 12 + until.month - 1
    return [f"{one // 12:04}-{one % 12 + 1:02}-01" for one in range(number - months + 1, number + 1)]
