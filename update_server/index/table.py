"""The update tables, one per channel, valid for all Python and napari versions. Pure functions."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

import msgspec
from msgspec import Struct
from napari_update_hook.table import SCHEMA_VERSION, TablePackage, UpdateTable
from napari_update_hook.table import Release as Row
from packaging.version import Version

from update_server.index.compatibility import Compatibility, pypi_compatibility, table_rows, yanked_releases
from update_server.index.conda import broken_releases, conda_compatibility
from update_server.index.model import Facts, Package
from update_server.index.notices import PackageNotices
from update_server.index.pythons import MINORS_AHEAD, newest_named_minor

MAX_ENTRY = 2**14
"""Maximum bytes of a package's rows, because everyone downloads the table. Ten times the largest, except napari's."""

MAX_WITHDRAWN = 100
"""Maximum number of yanked or vulnerable releases of a package; the newest are kept."""


class Tables(Struct, frozen=True):
    """The update tables by channel.

    ``compatibility``: by channel and normalized name. ``naparis``: napari's published final versions. ``changed``: when the
    content last changed, by digest. ``cut``: packages truncated because of their size.
    """

    last_minor: int
    naparis: tuple[str, ...]
    compatibility: Mapping[str, Mapping[str, Compatibility]]
    tables: Mapping[str, UpdateTable]
    changed: Mapping[str, datetime]
    cut: frozenset[str] = frozenset()


def make_tables(
    facts: Facts,
    changed: Mapping[str, datetime],
    check_again_s: int,
    *,
    takes_reports: bool = False,
    notices: Mapping[str, PackageNotices] = {},
) -> Tables:
    """Make the tables of all channels.

    ``changed``: from the previous index, so that an unchanged table keeps its ``index_version`` and bytes. ``notices``: by
    normalized name.
    """
    packages = (*facts.packages, *facts.parts)
    names = {package.key: package.conda.name if package.conda else package.key for package in packages}
    last_minor = newest_minor(facts) + MINORS_AHEAD
    napari = next((package for package in packages if package.key == "napari"), None)
    naparis = tuple(sorted(napari.published_finals, key=Version)) if napari else ()
    on_pypi: dict[str, Compatibility] = {
        package.key: pypi_compatibility(package, last_minor, frozenset(names)) for package in packages
    }
    by_conda_name = {on_conda: key for key, on_conda in names.items() if key != "napari"}
    on_conda: dict[str, Compatibility] = {
        package.key: conda_compatibility(package.conda, last_minor, naparis, by_conda_name)
        for package in packages
        if package.conda
    }
    compatibility = {"pypi": on_pypi, "conda-forge": on_conda} if facts.has_conda else {"pypi": on_pypi}
    by_key: dict[str, Package] = {package.key: package for package in packages}
    tables, since_by_digest, cut = {}, {}, set[str]()
    for channel, of_packages in compatibility.items():
        found = {
            key: replace(_table_package(channel, by_key[key], one, naparis, cut), **_notice_fields(notices.get(key)))
            for key, one in sorted(of_packages.items())
        }
        table = UpdateTable(channel, "", check_again_s, found, takes_reports)
        digest = hashlib.sha256(encoded(table)).hexdigest()
        since_by_digest[digest] = changed.get(digest, facts.as_of)
        tables[channel] = replace(table, index_version=instant_text(since_by_digest[digest]))
    return Tables(last_minor, naparis, compatibility, tables, since_by_digest, frozenset(cut))


def newest_minor(facts: Facts) -> int:
    """Return the newest minor version of Python that a release names."""
    releases = (release for package in facts.packages for release in package.releases)
    return newest_named_minor({file.requires_python for release in releases for file in release.files if file.requires_python})


def _notice_fields(of_package: PackageNotices | None) -> dict[str, Any]:
    return {"notices": of_package.notices, "inactive": of_package.inactive} if of_package else {}


def _table_package(
    channel: str, package: Package, compatibility: Compatibility, naparis: tuple[str, ...], cut: set[str]
) -> TablePackage:
    on_conda = package.conda if channel == "conda-forge" else None
    rows = table_rows(compatibility, naparis, all_finals=package.key == "napari")
    yanked = broken_releases(on_conda) if on_conda else yanked_releases(package.releases)
    kept = rows if package.key == "napari" else _within_bounds(rows)
    if kept != rows or max(len(yanked), len(package.vulnerabilities)) > MAX_WITHDRAWN:
        cut.add(package.key)
    return TablePackage(
        releases=kept,
        yanked=dict(list(yanked.items())[:MAX_WITHDRAWN]),
        vulnerabilities={version: list(ids) for version, ids in list(package.vulnerabilities.items())[:MAX_WITHDRAWN]},
        conda_name=on_conda.name if on_conda and on_conda.name != package.key else None,
    )


def _within_bounds(rows: list[Row]) -> list[Row]:
    """Keep the first rows within `MAX_ENTRY`; to keep more, first drop requirements on other packages."""
    for candidates in (rows, [replace(row, requires={}) for row in rows]):
        sizes = accumulate(len(msgspec.json.encode(_filled(row))) for row in candidates)
        kept = [row for row, size in zip(candidates, sizes, strict=True) if size <= MAX_ENTRY]
        if len(kept) == len(rows):
            break
    return kept


def encoded(table: UpdateTable) -> bytes:
    """Return a table as JSON, without empty fields."""
    return msgspec.json.encode(
        {
            "schema_version": SCHEMA_VERSION,
            "channel": table.channel,
            "index_version": table.index_version,
            "check_again_s": table.check_again_s,
            **({"takes_reports": True} if table.takes_reports else {}),
            "packages": {
                key: {"releases": [_filled(row) for row in package.releases]}
                | _filled(package, "releases", "notices")
                | ({"notices": [_filled(one) for one in package.notices]} if package.notices else {})
                for key, package in table.packages.items()
            },
        }
    )


def _filled(value: Any, *left_out: str) -> dict[str, Any]:
    return {name: field for name, field in vars(value).items() if field and name not in left_out}


def instant_text(instant: datetime) -> str:
    """Format an instant as ``2026-08-22T22:10:09Z``."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
