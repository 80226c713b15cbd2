"""The facts of the index: packages, their releases, and the files that make a release installable.

Only facts that decide an answer are here: no description, no file name. The structs are also the format of the seed and of
the snapshot (arrays instead of objects, which halves the size), so a change of their order is a change of `FACTS_FORMAT`.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property

from msgspec import Struct
from packaging.utils import NormalizedName
from packaging.version import Version

FACTS_FORMAT = 4


class File(Struct, frozen=True, array_like=True):
    """One way to install a release.

    ``requires_python``: the specifier as published, None where there is none. ``yanked``: None for a file that may be
    taken, else the reason, which may be empty (PEP 592). ``tags``: interpreter and ABI of a wheel (``"cp311-abi3"``; a wheel
    has several where its name compresses a set), None for an sdist.
    """

    requires_python: str | None = None
    yanked: str | None = None
    tags: tuple[str, ...] | None = None


class Release(Struct, frozen=True, array_like=True):
    """A version of a package on PyPI. ``version`` parses by PEP 440.

    ``requires``: those of its Requires-Dist that name a version, as published; None where its metadata was never read.
    ``uploaded``: the day of its first file, such as ``"2026-08-22"``, UTC; None where the upstream does not say.
    ``is_invalid``: its metadata has a requirement that cannot be read, so that pip (24.1 and later) ignores the release.
    ``note``: what of its metadata was left out, and why.
    """

    version: str
    files: tuple[File, ...]
    requires: tuple[str, ...] | None = None
    uploaded: str | None = None
    is_invalid: bool = False
    note: str = ""


class CondaFile(Struct, frozen=True, array_like=True):
    """A package file on conda-forge: what it requires, by its own metadata.

    ``depends`` and ``constrains`` hold the match specifications on Python, and those on napari and other packages that name a
    version. ``broken`` is conda-forge's yank.
    """

    version: str
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    broken: bool = False


class CondaPackage(Struct, frozen=True, array_like=True):
    """A package on conda-forge: its name there, and its files."""

    name: str
    files: tuple[CondaFile, ...]


class Package(Struct, frozen=True, array_like=True, dict=True):
    """A project of the index.

    ``name`` is spelled as its authors do, ``key`` normalized (PEP 503). ``version``: what today's index names as the newest.
    ``releases`` are in descending PEP 440 order. ``commands`` are the ids that the manifest of the newest release declares.
    ``conda`` is None where the project is not on conda-forge, or where that is not known. ``vulnerabilities``: ids of known
    advisories by version.
    """

    key: NormalizedName
    name: str
    version: str
    releases: tuple[Release, ...]
    commands: tuple[str, ...] = ()
    conda: CondaPackage | None = None
    vulnerabilities: dict[str, tuple[str, ...]] = {}

    @cached_property
    def published_finals(self) -> tuple[str, ...]:
        """The versions that telemetry may name: final, with a file, in descending order."""
        return tuple(release.version for release in self.releases if release.files and not is_prerelease(release.version))


class Facts(Struct, frozen=True):
    """All packages at one time.

    ``as_of``: when they were read, UTC. ``has_conda``: whether conda-forge was asked. ``packages``: those that the index lists;
    ``parts``: napari's own parts, which an update check needs as well (`NAPARI_PARTS`).
    """

    format: int
    as_of: datetime
    has_conda: bool
    packages: tuple[Package, ...]
    parts: tuple[Package, ...] = ()

    def by_key(self) -> Mapping[str, Package]:
        """Return the packages by normalized name."""
        return {package.key: package for package in self.packages}


NAPARI_PARTS = (
    "napari",
    "npe2",
    "napari-plugin-manager",
    "napari-update-hook",
    "napari-telemetry",
    "napari-console",
    "napari-svg",
)
"""Packages of the update table, listed as plugins or not."""


def is_prerelease(version: str) -> bool:
    """Whether PEP 440 counts ``version`` as a pre-release or a development release."""
    return Version(version).is_prerelease


def in_descending_order(releases: Iterable[Release]) -> tuple[Release, ...]:
    """Return the releases, the newest first."""
    return tuple(sorted(releases, key=lambda release: Version(release.version), reverse=True))
