"""Public facts about the last release: files on PyPI, the manifest in napari's index, downloads and people by Python."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

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


class OfflineError(Exception):
    """A service that gave no answer; the message says which."""


@dataclass(frozen=True)
class Services:
    """Base URLs. ``numbers``: of a napari update service, for counts of people; empty for none."""

    pypi: str = "https://pypi.org"
    index: str = "https://api.napari.org"
    downloads: str = "https://pypistats.org"
    numbers: str = ""


@dataclass(frozen=True)
class LastRelease:
    """The newest final release: its files, as name and Requires-Python, and the ids of its commands, None if not known."""

    version: Version
    files: tuple[tuple[str, str], ...]
    commands: frozenset[str] | None


@dataclass(frozen=True)
class Public:
    """Public facts about a plugin.

    ``versions``: all that were published, including yanked ones. ``people`` (at least, in one week) and ``downloads`` (percent
    of 30 days) by Python, such as ``3.12``. ``unknown``: what could not be read, in sentences.
    """

    versions: frozenset[Version] = frozenset()
    last: LastRelease | None = None
    newest_napari: Version | None = None
    people: dict[str, int] = field(default_factory=dict)
    downloads: dict[str, float] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def look_up(name: str, services: Services) -> Public:
    """Return what is public of a plugin, as far as it can be read."""
    unknown: list[str] = []

    def tried(url: str) -> Any:
        try:
            return _json(url)
        except OfflineError as error:
            unknown.append(str(error))
            return None

    key = canonicalize_name(name)
    releases = _releases(tried(f"{services.pypi}/simple/{key}/"))
    naparis = _finals(_releases(tried(f"{services.pypi}/simple/napari/"))) if not unknown else []
    finals = _finals(releases)
    last = None
    if finals:
        manifest = tried(f"{services.index}/api/manifest/{key}")
        files = tuple((name, requires) for name, requires, is_yanked in releases[finals[-1]] if not is_yanked)
        last = LastRelease(finals[-1], files, command_ids(manifest) if manifest else None)
    of_downloads = tried(f"{services.downloads}/api/packages/{key}/python_minor") if last else None
    of_people = tried(f"{services.numbers}/api/stats/plugins/{key}?by=python") if last and services.numbers else None
    return Public(
        frozenset(releases),
        last,
        naparis[-1] if naparis else None,
        _people(of_people),
        _downloads(of_downloads),
        tuple(unknown),
    )


def _json(url: str) -> Any:
    """Return a JSON answer, or None for 404. Raises OfflineError."""
    headers = {
        "Accept": "application/vnd.pypi.simple.v1+json, application/json;q=0.9",
        "User-Agent": f"napari-release-check/{__version__}",
    }
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S) as answer:  # noqa: S310 - https or the caller's
            return json.loads(answer.read(MAX_BYTES))
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise OfflineError(f"{urllib.parse.urlsplit(url).netloc} answered {error.code}.") from error
    except (OSError, ValueError) as error:
        raise OfflineError(
            f"{urllib.parse.urlsplit(url).netloc} can't be reached: {getattr(error, 'reason', error)}."
        ) from error


def _releases(page: Any) -> dict[Version, list[tuple[str, str, bool]]]:
    """The files of each version on a page of PyPI's simple API: name, Requires-Python, and whether it is yanked."""
    found: dict[Version, list[tuple[str, str, bool]]] = {}
    for file in page.get("files", ()) if isinstance(page, dict) else ():
        name = str(file.get("filename"))
        try:
            version = parse_wheel_filename(name)[1] if name.endswith(".whl") else parse_sdist_filename(name)[1]
        except (InvalidWheelFilename, InvalidSdistFilename):
            continue
        found.setdefault(version, []).append((name, str(file.get("requires-python") or ""), bool(file.get("yanked"))))
    return found


def _finals(releases: dict[Version, list[tuple[str, str, bool]]]) -> list[Version]:
    """Final versions with a file that is not yanked, oldest first."""
    return sorted(
        version for version, files in releases.items() if not version.is_prerelease and not all(file[2] for file in files)
    )


def _people(answer: Any) -> dict[str, int]:
    rows = answer.get("rows", []) if isinstance(answer, dict) else []
    last = max((row["week"] for row in rows), default="")
    return {row["values"]["python"]: row["people"] for row in rows if row["week"] == last}


def _downloads(answer: Any) -> dict[str, float]:
    """Percent of downloads by Python, in the last 30 days that are there, without those that name none."""
    rows = answer.get("data", []) if isinstance(answer, dict) else []
    days = sorted({row["date"] for row in rows})[-30:]
    counted: Counter[str] = Counter()
    for row in rows:
        if row["date"] in days and row["category"] != "null":
            counted[row["category"]] += row["downloads"]
    return {python: 100 * number / counted.total() for python, number in counted.items()} if counted.total() else {}
