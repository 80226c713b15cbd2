"""Packages, releases and files of the index.

The structs are also the format of seed and snapshot (as arrays, half the size): if their order changes, raise `FACTS_FORMAT`.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property

from msgspec import Struct
from packaging.utils import NormalizedName
from packaging.version import InvalidVersion, Version


class File(Struct, frozen=True, array_like=True):
    """``yanked``: None if not yanked, else the reason, which may be empty (PEP 592). ``tags``: interpreter-ABI pairs of a wheel
    (``"cp311-abi3"``), None for an sdist.
    """

    requires_python: str | None = None
    yanked: str | None = None
    tags: tuple[str, ...] | None = None


class Release(Struct, frozen=True, array_like=True):
    """A version on PyPI; it parses by PEP 440.

    ``requires``: Requires-Dist entries with a version; None if never read. ``uploaded``: UTC day (``"2026-08-22"``).
    ``is_invalid``: a requirement is unreadable, so pip (24.1 and later) ignores the release. ``note``: omissions, with reasons.
    """

    version: str
    files: tuple[File, ...]
    requires: tuple[str, ...] | None = None
    uploaded: str | None = None
    is_invalid: bool = False
    note: str = ""


class CondaFile(Struct, frozen=True, array_like=True):
    """``depends``, ``constrains``: match specifications for Python and napari, and those of other packages with a version.
    ``broken``: conda-forge's yank.
    """

    version: str
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    broken: bool = False


class CondaPackage(Struct, frozen=True, array_like=True):
    name: str
    files: tuple[CondaFile, ...]


class Package(Struct, frozen=True, array_like=True, dict=True):
    """``key``: normalized name (PEP 503). ``version``: today's newest. ``releases``: newest first. ``commands``: ids from the
    newest manifest. ``conda``: None if not on conda-forge, or unknown. ``vulnerabilities``: advisory ids by version.
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
        """Final versions with a file, newest first; telemetry may name them."""
        return tuple(release.version for release in self.releases if release.files and not is_prerelease(release.version))


class Facts(Struct, frozen=True):
    """``as_of``: UTC. ``packages``: listed in the index; ``parts``: unlisted ones of `NAPARI_PARTS`."""

    as_of: datetime
    has_conda: bool
    packages: tuple[Package, ...]
    parts: tuple[Package, ...] = ()

    def by_key(self) -> Mapping[str, Package]:
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
"""Always in the update table, even if not listed as plugins."""


def parsed_version(text: object) -> Version | None:
    """None for anything but a PEP 440 version."""
    try:
        return Version(text) if isinstance(text, str) else None
    except InvalidVersion:
        return None


def is_prerelease(version: str) -> bool:
    """Development releases count, too."""
    return Version(version).is_prerelease


def in_descending_order(releases: Iterable[Release]) -> tuple[Release, ...]:
    return tuple(sorted(releases, key=lambda release: Version(release.version), reverse=True))
