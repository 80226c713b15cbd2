"""Packages, releases and files of the index.

The structs also define the format of seed and snapshot, as arrays, which halves the size. If the order of fields changes,
change the version in `snapshot.MAGIC`.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property

from msgspec import Struct
from packaging.utils import NormalizedName
from packaging.version import InvalidVersion, Version


class File(Struct, frozen=True, array_like=True):
    """A file of a release on PyPI.

    ``yanked``: the reason, which may be empty (PEP 592), or None if not yanked. ``tags``: interpreter-ABI pairs of a wheel
    (``"cp311-abi3"``), or None for an sdist.
    """

    requires_python: str | None = None
    yanked: str | None = None
    tags: tuple[str, ...] | None = None


class Release(Struct, frozen=True, array_like=True):
    """A release on PyPI, with a valid version (PEP 440).

    ``requires``: Requires-Dist entries with a version; None if never read. ``uploaded``: UTC day (``"2026-08-22"``).
    ``is_invalid``: a requirement is invalid, so pip since 24.1 ignores the release. ``note``: omitted data, with reasons.
    """

    version: str
    files: tuple[File, ...]
    requires: tuple[str, ...] | None = None
    uploaded: str | None = None
    is_invalid: bool = False
    note: str = ""


class CondaFile(Struct, frozen=True, array_like=True):
    """A file on conda-forge.

    ``depends``, ``constrains``: match specifications for Python and napari, and for other packages if they name a version.
    ``broken``: conda-forge's equivalent of yanked.
    """

    version: str
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    broken: bool = False


class CondaPackage(Struct, frozen=True, array_like=True):
    name: str
    files: tuple[CondaFile, ...]


class Package(Struct, frozen=True, array_like=True, dict=True):
    """A package of the index.

    ``key``: normalized name (PEP 503). ``version``: the newest, as the index lists it. ``releases``: newest first.
    ``commands``: ids from the newest manifest. ``conda``: None if not on conda-forge, or unknown. ``vulnerabilities``:
    advisory ids by version.
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
        """Final versions with a file, newest first. Telemetry reports may name them."""
        return tuple(release.version for release in self.releases if release.files and not is_prerelease(release.version))


class Facts(Struct, frozen=True):
    """All packages at one time. ``packages``: listed in the index. ``parts``: those of `NAPARI_PARTS` that are not."""

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
"""Packages that are always in the update table, even if the index does not list them."""


def parse_version(text: object) -> Version | None:
    """Return the version, or None if it is not a PEP 440 version."""
    try:
        return Version(text) if isinstance(text, str) else None
    except InvalidVersion:
        return None


def is_prerelease(version: str) -> bool:
    """Return whether a version is a pre-release or development release."""
    return Version(version).is_prerelease


def sort_newest_first(releases: Iterable[Release]) -> tuple[Release, ...]:
    return tuple(sorted(releases, key=lambda release: Version(release.version), reverse=True))
