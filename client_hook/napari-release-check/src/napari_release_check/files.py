"""Read the metadata of release files without running any of their code."""

from __future__ import annotations

import posixpath
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
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

PLATFORMS = (
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
    {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
)
MAX_METADATA = 10 * 2**20
"""Maximum size of a metadata file or manifest in bytes."""


READ_ERRORS = (
    OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, RuntimeError,  # NotImplementedError, RecursionError
    zipfile.BadZipFile, zlib.error, tarfile.TarError, ConfigError, yaml.YAMLError,
)  # fmt: skip
"""Exceptions that damaged, encrypted or unusual archives cause."""


class UnreadableFileError(Exception):
    """Raised for a file that cannot be read as a wheel or source distribution."""


@dataclass(frozen=True)
class ReleaseFile:
    """The metadata of a release file.

    ``commands``: command ids in the manifest; None if unknown, as in a source distribution.
    """

    filename: str
    name: str
    version: str
    requires_python: str
    requires_dist: tuple[str, ...]
    commands: frozenset[str] | None = None


def read(path: Path) -> ReleaseFile:
    """Read a wheel or a source distribution. Raises UnreadableFileError."""
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                return _read_wheel(path, archive)
        with tarfile.open(path) as packed:
            return _read_sdist(path, packed)
    except READ_ERRORS as error:
        raise UnreadableFileError(f"{path} can't be read as a wheel or source distribution: {error}") from error


def _read_wheel(path: Path, archive: zipfile.ZipFile) -> ReleaseFile:
    members = {posixpath.normpath(name): name for name in archive.namelist()}
    info = next((name.partition("/")[0] for name in members if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)), "")

    def text(name: str) -> str | None:
        member = members.get(posixpath.normpath(name))
        return _read_limited(archive.getinfo(member).file_size, lambda: archive.read(member)) if member else None

    entry_points = ConfigParser(delimiters=("=",), interpolation=None)
    entry_points.optionxform = str  # type: ignore[assignment, method-assign]
    entry_points.read_string(text(f"{info}/entry_points.txt") or "")
    commands: frozenset[str] | None = frozenset()
    for place in entry_points["napari.manifest"].values() if entry_points.has_section("napari.manifest") else ():
        module, _, file = place.partition(":")
        manifest = text(f"{module.strip().replace('.', '/')}/{file.strip()}")
        commands = (
            command_ids(yaml.safe_load(manifest)) if manifest and file.strip().endswith((".yaml", ".yml", ".json")) else None
        )
    return _parse_metadata(path, text(f"{info}/METADATA"), commands)


def _read_sdist(path: Path, packed: tarfile.TarFile) -> ReleaseFile:
    for member in packed:
        if member.name.count("/") == 1 and member.name.endswith("/PKG-INFO"):
            content = packed.extractfile(member)
            if content is not None:
                return _parse_metadata(path, _read_limited(member.size, content.read), None)
    return _parse_metadata(path, None, None)


def _read_limited(size: int, read: Callable[[], bytes]) -> str:
    if size > MAX_METADATA:
        raise ValueError("its metadata is too large")
    return read().decode("utf-8")


def _parse_metadata(path: Path, metadata: str | None, commands: frozenset[str] | None) -> ReleaseFile:
    if not metadata:
        raise ValueError("it has no metadata")
    fields = HeaderParser().parsestr(metadata)
    return ReleaseFile(
        path.name,
        canonicalize_name(fields["Name"] or ""),
        fields["Version"] or "",
        fields["Requires-Python"] or "",
        tuple(fields.get_all("Requires-Dist", [])),
        commands,
    )


def command_ids(manifest: Any) -> frozenset[str]:
    """Return the command ids of a manifest; empty if it is not a valid manifest."""
    contributions = manifest.get("contributions") if isinstance(manifest, dict) else None
    commands = contributions.get("commands") if isinstance(contributions, dict) else None
    return (
        frozenset(str(one["id"]) for one in commands if isinstance(one, dict) and "id" in one)
        if isinstance(commands, list)
        else frozenset()
    )


def compatible_minors(filename: str, requires_python: str, minors: Iterable[int]) -> set[int]:
    """Return the CPython 3 minor versions that can install a file on at least one platform.

    The set is empty if the filename or Requires-Python is invalid.
    """
    try:
        tags = parse_wheel_filename(filename)[3] if filename.endswith(".whl") else None
        if tags is None:
            parse_sdist_filename(filename)
        allowed = SpecifierSet(requires_python)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidSpecifier):
        return set()
    return {
        minor
        for minor in minors
        if allowed.contains(f"3.{minor}.99", prereleases=True)
        and (tags is None or any(_pair(tag) in _compatible_pairs(minor) for tag in tags))
    }


@cache
def _compatible_pairs(minor: int) -> frozenset[tuple[str, str]]:
    own = cpython_tags((3, minor), platforms=["any"])
    generic = compatible_tags((3, minor), f"cp3{minor}", ["any"])
    return frozenset(_pair(tag) for tag in (*own, *generic))


def _pair(tag: Tag) -> tuple[str, str]:
    return tag.interpreter, tag.abi


def napari_requirements(files: Sequence[ReleaseFile]) -> list[Requirement]:
    """Return the requirements on napari, without those of extras."""
    """Return the requirements on napari, without those of extras."""
    found = []
    for text in dict.fromkeys(text for file in files for text in file.requires_dist):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if canonicalize_name(requirement.name) == "napari" and "extra" not in str(requirement.marker or ""):
            found.append(requirement)
    return found


def allows_napari(requirements: Sequence[Requirement], napari: Version, minors: Iterable[int]) -> bool:
    """Whether the requirements allow this napari version on at least one of these Python versions and platforms."""
    return any(
        all(
            one.specifier.contains(napari)
            for one in requirements
            if one.marker is None
            or one.marker.evaluate({"python_version": f"3.{minor}", "python_full_version": f"3.{minor}.99", **platform})
        )
        for minor in minors
        for platform in PLATFORMS
    )
