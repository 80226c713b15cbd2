"""Read the metadata of release files, without running anything."""

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
"""Bytes of a metadata file or manifest."""


UNREADABLE = (
    OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, RuntimeError,  # NotImplementedError, RecursionError
    zipfile.BadZipFile, zlib.error, tarfile.TarError, ConfigError, yaml.YAMLError,
)  # fmt: skip
"""Raised by damaged, encrypted or odd archives."""


class UnreadableFileError(Exception):
    """A file that cannot be read as a wheel or source distribution."""


@dataclass(frozen=True)
class BuiltFile:
    """``commands``: ids in the manifest; None if unknown, as for a source distribution."""

    filename: str
    name: str
    version: str
    requires_python: str
    requires_dist: tuple[str, ...]
    commands: frozenset[str] | None = None


def read(path: Path) -> BuiltFile:
    """Read a wheel or a source distribution. Raises UnreadableFileError."""
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                return _wheel(path, archive)
        with tarfile.open(path) as packed:
            return _source(path, packed)
    except UNREADABLE as error:
        raise UnreadableFileError(f"{path} can't be read as a wheel or source distribution: {error}") from error


def _wheel(path: Path, archive: zipfile.ZipFile) -> BuiltFile:
    members = {posixpath.normpath(name): name for name in archive.namelist()}
    info = next((name.partition("/")[0] for name in members if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)), "")

    def text(name: str) -> str | None:
        member = members.get(posixpath.normpath(name))
        return _bounded(archive.getinfo(member).file_size, lambda: archive.read(member)) if member else None

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
    return _described(path, text(f"{info}/METADATA"), commands)


def _source(path: Path, packed: tarfile.TarFile) -> BuiltFile:
    for member in packed:
        if member.name.count("/") == 1 and member.name.endswith("/PKG-INFO"):
            content = packed.extractfile(member)
            if content is not None:
                return _described(path, _bounded(member.size, content.read), None)
    return _described(path, None, None)


def _bounded(size: int, read: Callable[[], bytes]) -> str:
    if size > MAX_METADATA:
        raise ValueError("its metadata is too long")
    return read().decode("utf-8")


def _described(path: Path, metadata: str | None, commands: frozenset[str] | None) -> BuiltFile:
    if not metadata:
        raise ValueError("it has no metadata")
    fields = HeaderParser().parsestr(metadata)
    return BuiltFile(
        path.name,
        canonicalize_name(fields["Name"] or ""),
        fields["Version"] or "",
        fields["Requires-Python"] or "",
        tuple(fields.get_all("Requires-Dist", [])),
        commands,
    )


def command_ids(manifest: Any) -> frozenset[str]:
    """Return the command ids of a manifest; empty if it is not one."""
    contributions = manifest.get("contributions") if isinstance(manifest, dict) else None
    commands = contributions.get("commands") if isinstance(contributions, dict) else None
    return (
        frozenset(str(one["id"]) for one in commands if isinstance(one, dict) and "id" in one)
        if isinstance(commands, list)
        else frozenset()
    )


def pythons_of(filename: str, requires_python: str, minors: Iterable[int]) -> set[int]:
    """Return the minors of CPython 3 that can install a file on some platform; empty for invalid names."""
    try:
        tags = parse_wheel_filename(filename)[3] if filename.endswith(".whl") else None
        if tags is None:
            parse_sdist_filename(filename)
        admitted = SpecifierSet(requires_python)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidSpecifier):
        return set()
    return {
        minor
        for minor in minors
        if admitted.contains(f"3.{minor}.99", prereleases=True)
        and (tags is None or any(_pair(tag) in _pairs(minor) for tag in tags))
    }


@cache
def _pairs(minor: int) -> frozenset[tuple[str, str]]:
    own = cpython_tags((3, minor), platforms=["any"])
    generic = compatible_tags((3, minor), f"cp3{minor}", ["any"])
    return frozenset(_pair(tag) for tag in (*own, *generic))


def _pair(tag: Tag) -> tuple[str, str]:
    return tag.interpreter, tag.abi


def napari_requirements(files: Sequence[BuiltFile]) -> list[Requirement]:
    found = []
    for text in dict.fromkeys(text for file in files for text in file.requires_dist):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if canonicalize_name(requirement.name) == "napari" and "extra" not in str(requirement.marker or ""):
            found.append(requirement)
    return found


def admits_napari(requirements: Sequence[Requirement], napari: Version, minors: Iterable[int]) -> bool:
    """Whether a release can be installed with a napari, on any of these Pythons and platforms."""
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
