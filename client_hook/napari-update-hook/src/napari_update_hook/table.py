"""The update table: which releases work with which Python and napari versions. Shared by server and client."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

SCHEMA_VERSION = 2
CHANNELS = ("pypi", "conda-forge")
MAX_NOTICES, MAX_NOTICE = 10, 200
"""Maximum number of notices per package; maximum length of a text or link."""
_CONDA_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
"""Valid conda names. They are used in commands, so they must not look like an option or a URL."""


@dataclass(frozen=True)
class Release:
    """A row of the table; a release may have several, for different Python versions.

    ``requires_python``, ``requires_napari``: PEP 440 specifiers; empty for any version. ``requires``: specifiers for other
    packages of the table, by name.
    """

    version: str
    requires_python: str = ""
    requires_napari: str = ""
    requires: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Notice:
    """A notice to users of a package.

    ``specifier``: the releases that it is about; empty for all. ``severity``: info or warning. ``until``: the last day to
    show it (``2027-06-01``), or empty.
    """

    text: str
    specifier: str = ""
    severity: str = "warning"
    link: str = ""
    until: str = ""


@dataclass(frozen=True)
class TablePackage:
    """A package in the table.

    ``releases``: newest first, finals before pre-releases. ``yanked``: reasons by version; a reason may be empty.
    ``vulnerabilities``: advisory IDs by version. ``conda_name``: the name on conda-forge, if different. ``inactive``:
    whether the package is no longer maintained.
    """

    releases: Sequence[Release] = ()
    yanked: Mapping[str, str] = field(default_factory=dict)
    vulnerabilities: Mapping[str, Sequence[str]] = field(default_factory=dict)
    conda_name: str | None = None
    notices: Sequence[Notice] = ()
    inactive: bool = False


@dataclass(frozen=True)
class UpdateTable:
    """The table of one channel.

    ``packages``: by normalized name. ``index_version``: when the content last changed. ``takes_reports``: whether the
    server accepts usage reports.
    """

    channel: str
    index_version: str
    check_again_s: float
    packages: Mapping[str, TablePackage]
    takes_reports: bool = False


@dataclass(frozen=True)
class Choice:
    """The releases to choose from.

    ``latest``: the newest compatible version. ``newest``: an incompatible newer version, with its Python requirement, or
    else its napari requirement.
    """

    latest: str | None
    newest: str | None = None
    newest_requires_python: str | None = None
    newest_requires_napari: str | None = None


def pick(releases: Sequence[Release], python: str, napari: str | None) -> Release | None:
    """Return the first row that is compatible with ``python`` (``3.11.4``) and ``napari`` (``0.6.1``; None for any)."""
    return next((row for row in releases if _is_compatible(row, python, napari)), None)


def choose(package: TablePackage, python: str, napari: str | None) -> Choice:
    """Return the newest compatible version, and the requirements that exclude a newer one."""
    latest, first = pick(package.releases, python, napari), next(iter(package.releases), None)
    if first is None or (latest is not None and not _is_newer(first.version, latest.version)):
        return Choice(latest.version if latest else None)
    rows = [row for row in package.releases if row.version == first.version]
    fitting = [row for row in rows if admits(row.requires_python, python)]
    return Choice(
        latest.version if latest else None,
        first.version,
        None if fitting else _join_specifiers(row.requires_python for row in rows),
        _join_specifiers(row.requires_napari for row in fitting) if fitting else None,
    )


def _is_compatible(row: Release, python: str, napari: str | None) -> bool:
    return admits(row.requires_python, python) and (napari is None or admits(row.requires_napari, napari))


def _is_newer(first: str, second: str) -> bool:
    """Return whether the first version is newer. The first row of a package may be an older pre-release."""
    try:
        return Version(first) > Version(second)
    except ValueError:  # conda-forge versions that PEP 440 does not allow; numbers with thousands of digits
        return first != second


def _join_specifiers(specifiers: Any) -> str | None:
    return " or ".join(dict.fromkeys(filter(None, specifiers))) or None


@lru_cache(maxsize=65536)
def admits(specifier: str, version: str) -> bool:
    """Return whether a specifier allows a version, including pre-releases. An invalid specifier allows every version."""
    parsed = parsed_specifier(specifier)
    try:
        return parsed is None or parsed.contains(version, prereleases=True)
    except ValueError:  # numbers with thousands of digits
        return True


@lru_cache(maxsize=4096)
def parsed_specifier(specifier: str) -> SpecifierSet | None:
    """Parse a specifier; return None if it is empty or invalid."""
    try:
        return SpecifierSet(specifier) if specifier else None
    except (InvalidSpecifier, ValueError):
        return None


def read_table(body: bytes) -> UpdateTable:
    """Parse a table, ignoring unknown fields. Raises ValueError if it is invalid."""
    try:
        document = json.loads(body)
        if document["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {document['schema_version']!r}, but this program reads {SCHEMA_VERSION}")
        return UpdateTable(
            channel=_text(document["channel"]),
            index_version=_text(document["index_version"]),
            check_again_s=_seconds(document["check_again_s"]),
            packages={_text(name): _package(package) for name, package in document["packages"].items()},
            takes_reports=document.get("takes_reports") is True,
        )
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _package(document: Any) -> TablePackage:
    name = document.get("conda_name")
    return TablePackage(
        tuple(
            Release(
                _text(row["version"]),
                _text(row.get("requires_python", "")),
                _text(row.get("requires_napari", "")),
                _texts(row.get("requires", {})),
            )
            for row in document["releases"]
        ),
        _texts(document.get("yanked", {})),
        {version: [_text(one) for one in ids] for version, ids in document.get("vulnerabilities", {}).items()},
        name if name is not None and _CONDA_NAME.fullmatch(_text(name)) else None,
        tuple(_notice(one) for one in document.get("notices", ())[:MAX_NOTICES]),
        document.get("inactive") is True,
    )


def _notice(document: Any) -> Notice:
    """Parse a notice. Its text may be hostile, so limit its length, and strip control and bidirectional characters."""
    text, link = ("".join(filter(str.isprintable, _text(document.get(key, ""))))[:MAX_NOTICE] for key in ("text", "link"))
    specifier, severity, until = (_text(document.get(key, "")) for key in ("specifier", "severity", "until"))
    return Notice(text, specifier, severity, link if link.startswith("https://") else "", until)


def _texts(values: Any) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in values.items()}


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError(f"{value!r} is not a number of seconds")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value
