"""Which release can a given Python and napari use?

pip answers this per project while it resolves. The update table answers it for every project and every user at once, so an
update check is one static file, the same for everybody, and the server learns nothing. Client and server pick from the table
with the functions here, which need nothing but the standard library and `packaging`.
"""

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
"""Notices of a package, and characters of a notice's text or link."""
_CONDA_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]*")
"""It goes into a command, so it must not look like an option or an address."""


@dataclass(frozen=True)
class Release:
    """A row: a release, and for whom it is.

    ``requires_python`` and ``requires_napari`` are PEP 440 specifiers; an empty one admits everything. ``requires``: specifiers
    by the name of another package of the table. A release has several rows where its requirements depend on Python.
    """

    version: str
    requires_python: str = ""
    requires_napari: str = ""
    requires: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Notice:
    """Something that people who have certain releases should know. Plain text, never markup.

    ``specifier``: of these releases, empty for all. ``severity``: info or warning. ``until``: the last day on which it is shown
    (``2027-06-01``), empty for no end.
    """

    text: str
    specifier: str = ""
    severity: str = "warning"
    link: str = ""
    until: str = ""


@dataclass(frozen=True)
class TablePackage:
    """A package of the table.

    ``releases``: the newest first, finals before pre-releases. ``yanked``: reasons by version, empty where none was given.
    ``vulnerabilities``: ids of advisories by version. ``conda_name``: the name on conda-forge, where it differs.
    ``inactive``: whether it is no longer maintained.
    """

    releases: Sequence[Release] = ()
    yanked: Mapping[str, str] = field(default_factory=dict)
    vulnerabilities: Mapping[str, Sequence[str]] = field(default_factory=dict)
    conda_name: str | None = None
    notices: Sequence[Notice] = ()
    inactive: bool = False


@dataclass(frozen=True)
class UpdateTable:
    """The table of a channel. ``packages`` by normalized name; ``index_version``: since when the content is what it is.

    ``takes_reports``: whether the server accepts usage reports, so that no one is asked for what cannot be sent.
    """

    channel: str
    index_version: str
    check_again_s: float
    packages: Mapping[str, TablePackage]
    takes_reports: bool = False


@dataclass(frozen=True)
class Choice:
    """The answer for one package.

    ``latest``: the newest version that fits, None where none does. ``newest``: a newer version that does not fit, and what
    it requires: of Python, or else of napari. Specifiers; several are joined with "or".
    """

    latest: str | None
    newest: str | None = None
    newest_requires_python: str | None = None
    newest_requires_napari: str | None = None


def pick(releases: Sequence[Release], python: str, napari: str | None) -> Release | None:
    """Return the first row that admits ``python`` (``"3.11.4"``) and ``napari`` (``"0.6.1"``), or None.

    ``releases`` are ordered as in the table. ``napari`` is None where none is installed; then every requirement on napari is
    met.
    """
    return next((row for row in releases if _fits(row, python, napari)), None)


def choose(package: TablePackage, python: str, napari: str | None) -> Choice:
    """Return the release that fits, and what keeps a newer one away. The arguments are those of `pick`."""
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
    """Whether the first row of a table is newer than another: a pre-release stands behind older finals."""
    try:
        return Version(first) > Version(second)
    except ValueError:  # some versions of conda-forge; numbers of thousands of digits
        return first != second


def _joined(specifiers: Any) -> str | None:
    return " or ".join(dict.fromkeys(filter(None, specifiers))) or None


@lru_cache(maxsize=65536)
def admits(specifier: str, version: str) -> bool:
    """Whether a specifier admits a version; pre-releases count. A specifier that cannot be read admits everything."""
    parsed = parsed_specifier(specifier)
    try:
        return parsed is None or parsed.contains(version, prereleases=True)
    except ValueError:  # numbers of thousands of digits
        return True


@lru_cache(maxsize=4096)
def parsed_specifier(specifier: str) -> SpecifierSet | None:
    """Return a specifier as `packaging` reads it, None where it is empty or cannot be read."""
    try:
        return SpecifierSet(specifier) if specifier else None
    except (InvalidSpecifier, ValueError):
        return None


def read_table(body: bytes) -> UpdateTable:
    """Read the bytes of a table. Raises ValueError where they are not one; unknown fields are ignored."""
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
    """Read a notice of a server that may be hostile: short, without control characters and changes of direction."""
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
