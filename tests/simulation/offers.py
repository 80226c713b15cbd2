"""The releases that pip would choose from upstream, computed without the service's code."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

PLATFORMS = (("linux", "Linux"), ("darwin", "Darwin"), ("win32", "Windows"))


@dataclass(frozen=True)
class File:
    """A file on PyPI. ``tags``: wheel tags; empty for an sdist, which runs anywhere."""

    version: Version
    day: date
    tags: frozenset[Tag]
    requires_python: str
    is_yanked: bool

    def fits(self, python: str) -> bool:
        """Return whether a CPython version such as ``3.12.4`` can install the file on some platform."""
        try:
            if not SpecifierSet(self.requires_python).contains(python):
                return False
        except InvalidSpecifier:
            pass  # pip ignores it
        return not self.tags or bool(self.tags & _supported_tags(python, frozenset(tag.platform for tag in self.tags)))


@dataclass(eq=False)
class Offers:
    """Files of all projects. ``needs``: napari requirements of each project's newest release."""

    files: Mapping[str, Sequence[File]]
    needs: Mapping[tuple[str, Version], Sequence[Requirement]]
    _known: dict[tuple[str, str], Sequence[tuple[Version, date]]] = field(default_factory=dict)

    def released_by(self, day: date) -> set[str]:
        return {name for name, files in self.files.items() if any(file.day <= day for file in files)}

    def newest_final(self, name: str, day: date) -> str | None:
        """Return the newest final version, whatever Python it requires."""
        out = {file.version for file in self.files[name] if file.day <= day and not file.version.is_prerelease}
        return str(max(out)) if out else None

    def newest(self, name: str, python: str, napari: str | None, day: date) -> str | None:
        """Return the version that ``pip install NAME`` would choose on a day with a given napari version.

        This is the newest compatible final release, a pre-release if no final release supports the Python, or None.
        """
        out = [version for version, since in self._compatible_versions(name, python) if since <= day]
        candidates = [version for version in out if not version.is_prerelease] or out
        return next((str(version) for version in candidates if self._allows_napari(name, version, python, napari)), None)

    def decided_by(self, name: str, python: str, napari: str | None, day: date) -> str:
        out = [file for file in self.files[name] if file.day <= day]
        highest = max((file.version for file in out if not file.version.is_prerelease), default=None)
        newest = self.newest(name, python, napari, day)
        if newest is None:
            return "nothing fits"
        if highest is None:
            return "only pre-releases exist"
        if newest == str(highest):
            return "newest"
        files = [file for file in out if file.version == highest]
        if all(file.is_yanked for file in files):
            return "withdrawn"
        return "needs another napari" if any(file.fits(python) for file in files) else "needs another Python"

    def _compatible_versions(self, name: str, python: str) -> Sequence[tuple[Version, date]]:
        """Return compatible versions with their release dates, best first."""
        if (name, python) not in self._known:
            days: dict[Version, date] = {}
            for file in self.files.get(name, ()):
                if not file.is_yanked and file.fits(python):
                    days[file.version] = min(file.day, days.get(file.version, file.day))
            self._known[name, python] = sorted(days.items(), key=lambda one: (not one[0].is_prerelease, one[0]), reverse=True)
        return self._known[name, python]

    def _allows_napari(self, name: str, version: Version, python: str, napari: str | None) -> bool:
        needs = self.needs.get((name, version), ())
        if name == "napari" or napari is None or not needs:
            return True
        return any(_all_allow(needs, napari, python, platform) for platform in PLATFORMS)


def read_offers(upstream: str, names: Iterable[str]) -> Offers:
    """Read the files of projects from upstream. Raises HTTPError for an unknown project."""
    files: dict[str, list[File]] = {}
    needs = {}
    for name in names:
        with urllib.request.urlopen(f"{upstream}/pypi/{name}/json", timeout=30) as answer:
            project = json.load(answer)
        files[name] = [file for one in project["releases"].values() for told in one if (file := _file(told)) is not None]
        info = project["info"]
        requirements = [Requirement(text) for text in info["requires_dist"] or ()]
        needs[name, Version(info["version"])] = [one for one in requirements if canonicalize_name(one.name) == "napari"]
    return Offers({name: found for name, found in files.items() if found}, needs)


def _file(told: dict[str, Any]) -> File | None:
    filename = told["filename"]
    try:
        if filename.endswith(".whl"):
            _, version, _, tags = parse_wheel_filename(filename)
        else:
            (_, version), tags = parse_sdist_filename(filename), frozenset()
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None  # an egg, or an invalid version
    day = date.fromisoformat(told["upload_time_iso_8601"][:10])
    return File(version, day, tags, told["requires_python"] or "", bool(told["yanked"]))


@lru_cache(maxsize=1000)
def _supported_tags(python: str, platforms: frozenset[str]) -> frozenset[Tag]:
    major, minor = (int(part) for part in python.split(".")[:2])
    asked = sorted(platforms)
    return frozenset(cpython_tags((major, minor), platforms=asked)) | frozenset(
        compatible_tags((major, minor), f"cp{major}{minor}", asked)
    )


def _all_allow(needs: Sequence[Requirement], napari: str, python: str, platform: tuple[str, str]) -> bool:
    sys_platform, platform_system = platform
    known = {
        **default_environment(), "python_version": ".".join(python.split(".")[:2]), "python_full_version": python,
        "sys_platform": sys_platform, "platform_system": platform_system, "extra": "",
    }  # fmt: skip
    return all(
        one.specifier.contains(napari, prereleases=True)
        for one in needs
        if one.marker is None or one.marker.evaluate(known)  # type: ignore[arg-type]
    )
