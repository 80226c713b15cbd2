"""The update table: which release fits which Python and napari. Shared by server and client."""

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
"""Notices per package; characters of a text or link."""
_CONDA_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
"""Used in commands, so it must not look like an option or a URL."""


@dataclass(frozen=True)
class Release:
    """A row of the table; a release may have several, by Python.

    ``requires_python``, ``requires_napari``: PEP 440, empty for any. ``requires``: specifiers by other packages of the table.
    """

    version: str
    requires_python: str = ""
    requires_napari: str = ""
    requires: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Notice:
    """``specifier``: the releases, empty for all. ``severity``: info or warning. ``until``: the last day (``2027-06-01``), or
    empty.
    """

    text: str
    specifier: str = ""
    severity: str = "warning"
    link: str = ""
    until: str = ""


@dataclass(frozen=True)
class TablePackage:
    """``releases``: newest first, finals before pre-releases. ``yanked``: reasons by version, may be empty.
    ``vulnerabilities``: advisory ids by version. ``conda_name``: on conda-forge, if different. ``inactive``: no longer
    maintained.
    """

    releases: Sequence[Release] = ()
    yanked: Mapping[str, str] = field(default_factory=dict)
    vulnerabilities: Mapping[str, Sequence[str]] = field(default_factory=dict)
    conda_name: str | None = None
    notices: Sequence[Notice] = ()
    inactive: bool = False


@dataclass(frozen=True)
class UpdateTable:
    """``packages``: by normalized name. ``index_version``: last change of the content. ``takes_reports``: accepts usage
    reports.
    """

    channel: str
    index_version: str
    check_again_s: float
    packages: Mapping[str, TablePackage]
    takes_reports: bool = False


@dataclass(frozen=True)
class Choice:
    """``latest``: the newest version that fits. ``newest``: a newer one, and what it requires of Python, else of napari."""

    latest: str | None
    newest: str | None = None
    newest_requires_python: str | None = None
    newest_requires_napari: str | None = None


def pick(releases: Sequence[Release], python: str, napari: str | None) -> Release | None:
    """Return the first row that admits ``python`` (``3.11.4``) and ``napari`` (``0.6.1``; None admits all)."""
    return next((row for row in releases if _fits(row, python, napari)), None)


def choose(package: TablePackage, python: str, napari: str | None) -> Choice:
    """Return what fits, and what excludes a newer release."""
    latest, first = pick(package.releases, python, napari), next(iter(package.releases), None)
    if first is None or (latest is not None and not _is_newer(first.version, latest.version)):
        return Choice(latest.version if latest else None)
    rows = [row for row in package.releases if row.version == first.version]
    fitting = [row for row in rows if admits(row.requires_python, python)]
    return Choice(
        latest.version if latest else None,
        first.version,
        None if fitting else _joined(row.requires_python for row in rows),
        _joined(row.requires_napari for row in fitting) if fitting else None,
    )


def _fits(row: Release, python: str, napari: str | None) -> bool:
    return admits(row.requires_python, python) and (napari is None or admits(row.requires_napari, napari))


def _is_newer(first: str, second: str) -> bool:
    """Whether the first row is newer; it may be an older pre-release."""
    try:
        return Version(first) > Version(second)
    except ValueError:  # odd conda-forge versions; numbers of thousands of digits
        return first != second


def _joined(specifiers: Any) -> str | None:
    return " or ".join(dict.fromkeys(filter(None, specifiers))) or None


@lru_cache(maxsize=65536)
def admits(specifier: str, version: str) -> bool:
    """Whether a specifier admits a version, with pre-releases. An invalid specifier admits all."""
    parsed = parsed_specifier(specifier)
    try:
        return parsed is None or parsed.contains(version, prereleases=True)
    except ValueError:  # numbers of thousands of digits
        return True


@lru_cache(maxsize=4096)
def parsed_specifier(specifier: str) -> SpecifierSet | None:
    """None if empty or invalid."""
    try:
        return SpecifierSet(specifier) if specifier else None
    except (InvalidSpecifier, ValueError):
        return None


def read_table(body: bytes) -> UpdateTable:
    """Parse a table; unknown fields are ignored. Raises ValueError."""
    try:
        document = json.loads(body)
        if document["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {document['schema_version']!r}, this program reads {SCHEMA_VERSION}")
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
    """The text may be hostile: limit it, and strip control and bidirectional characters."""
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
        raise TypeError(f"{value!r} is not a text")
    return value
