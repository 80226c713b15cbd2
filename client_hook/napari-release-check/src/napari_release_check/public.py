"""Look up the last release: its files and manifest, and its downloads and people by Python version."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from napari_release_check import __version__
from napari_release_check.files import command_ids

TIMEOUT_S = 10.0
MAX_BYTES = 32 * 2**20


T = TypeVar("T")
Releases = dict[Version, list[tuple[str, str, bool]]]
"""Files by version: (name, Requires-Python, whether it is yanked)."""


class ServiceError(Exception):
    """Raised if a service does not return a complete response. The message names the service."""


@dataclass(frozen=True)
class Services:
    """Base URLs of the services. ``numbers``: a napari update service with counts of people, or empty."""

    pypi: str = "https://pypi.org"
    index: str = "https://api.napari.org"
    downloads: str = "https://pypistats.org"
    numbers: str = ""


@dataclass(frozen=True)
class LastRelease:
    """The last final release. ``files``: (name, Requires-Python) pairs. ``commands``: ids, None if unknown."""

    version: Version
    files: tuple[tuple[str, str], ...]
    commands: frozenset[str] | None


@dataclass(frozen=True)
class PublicData:
    """What the services know about the package.

    ``versions``: all published versions, also yanked ones. ``people`` (minimum, in one week) and ``downloads`` (percent in
    30 days): by Python version, such as ``3.12``. ``unknown``: sentences about data that could not be read.
    """

    versions: frozenset[Version] = frozenset()
    last: LastRelease | None = None
    newest_napari: Version | None = None
    people: dict[str, int] = field(default_factory=dict)
    downloads: dict[str, float] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def look_up(name: str, services: Services) -> PublicData:
    """Collect the public data of a package. Data that cannot be read is reported in ``unknown``."""
    unknown: list[str] = []

    def fetch(base: str, path: str, parse: Callable[[Any], T], instead: T) -> T:
        try:
            answer = _json(base + path)
            return instead if answer is None else parse(answer)
        except ServiceError as error:
            unknown.append(str(error))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            unknown.append(f"{urllib.parse.urlsplit(base).netloc} sent an unreadable response to {path.partition('?')[0]}.")
        return instead

    key = urllib.parse.quote(canonicalize_name(name), safe="")
    nothing: Releases = {}
    releases = fetch(services.pypi, f"/simple/{key}/", _releases, nothing)
    napari_versions = _finals(fetch(services.pypi, "/simple/napari/", _releases, nothing)) if not unknown else []
    finals = _finals(releases)
    if not finals:
        return PublicData(frozenset(releases), None, napari_versions[-1] if napari_versions else None, unknown=tuple(unknown))
    commands = fetch(services.index, f"/api/manifest/{key}", command_ids, None)
    files = tuple((name, requires) for name, requires, is_yanked in releases[finals[-1]] if not is_yanked)
    downloads = fetch(services.downloads, f"/api/packages/{key}/python_minor", _downloads, dict[str, float]())
    people = dict[str, int]()
    if services.numbers:
        people = fetch(services.numbers, f"/api/stats/plugins/{key}?by=python", _people, people)
    newest = napari_versions[-1] if napari_versions else None
    return PublicData(frozenset(releases), LastRelease(finals[-1], files, commands), newest, people, downloads, tuple(unknown))


def _json(url: str) -> Any:
    """Return the decoded JSON, or None for status 404. Raises ServiceError, or ValueError if it is not JSON."""
    accept = "application/vnd.pypi.simple.v1+json, application/json;q=0.9"
    headers = {"Accept": accept, "User-Agent": f"napari-release-check/{__version__}"}
    host = urllib.parse.urlsplit(url).netloc
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - https, or the caller's URL
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            body = answer.read(MAX_BYTES)
            if answer.length:
                raise ServiceError(f"{host} sent an incomplete response.")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise ServiceError(f"{host} responded with status {error.code}.") from error
    except (OSError, http.client.HTTPException) as error:
        raise ServiceError(f"{host} can't be reached: {getattr(error, 'reason', error)}.") from error
    return json.loads(body)


def _releases(page: Any) -> Releases:
    """Parse a project page of PyPI's simple API."""
    found: Releases = {}
    for file in page["files"]:
        name = str(file.get("filename"))
        try:
            version = parse_wheel_filename(name)[1] if name.endswith(".whl") else parse_sdist_filename(name)[1]
        except (InvalidWheelFilename, InvalidSdistFilename):
            continue
        found.setdefault(version, []).append((name, str(file.get("requires-python") or ""), bool(file.get("yanked"))))
    return found


def _finals(releases: Releases) -> list[Version]:
    """Return the final versions with at least one file that is not yanked, oldest first."""
    return sorted(
        version for version, files in releases.items() if not version.is_prerelease and not all(file[2] for file in files)
    )


def _people(answer: Any) -> dict[str, int]:
    last = max((str(row["week"]) for row in answer["rows"]), default="")
    return {str(row["values"]["python"]): int(row["people"]) for row in answer["rows"] if row["week"] == last}


def _downloads(answer: Any) -> dict[str, float]:
    """Return the percentage of downloads by known Python version, in the last 30 days with data."""
    days = sorted({str(row["date"]) for row in answer["data"]})[-30:]
    counted: Counter[str] = Counter()
    for row in answer["data"]:
        if row["date"] in days and row["category"] != "null":
            counted[str(row["category"])] += int(row["downloads"])
    return {python: 100 * number / counted.total() for python, number in counted.items()} if counted.total() else {}
