"""What the files of a release say of themselves. Only metadata is read; nothing of them runs."""

from __future__ import annotations

import tarfile
import zipfile
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

MAX_METADATA = 10 * 2**20
"""Bytes of a metadata file or manifest."""


class UnreadableFileError(Exception):
    """A file that is not a wheel or source distribution that can be read; the message says why."""


@dataclass(frozen=True)
class BuiltFile:
    """One file of a release. ``commands``: ids in its manifest; None if it has no manifest, as in a source distribution."""

    filename: str
    name: str
    version: str
    requires_python: str
    requires_dist: tuple[str, ...]
    commands: frozenset[str] | None = None


def read(path: Path) -> BuiltFile:
    """Return what a wheel or a source distribution says of itself. Raises UnreadableFileError."""
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                return _wheel(path, archive)
        with tarfile.open(path) as packed:
            return _source(path, packed)
    except (OSError, zipfile.BadZipFile, tarfile.TarError, KeyError, ValueError, ConfigError, yaml.YAMLError) as error:
        raise UnreadableFileError(f"{path} can't be read as a wheel or source distribution: {error}") from error


def _wheel(path: Path, archive: zipfile.ZipFile) -> BuiltFile:
    members = archive.namelist()

    def text(end: str) -> str | None:
        name = next((name for name in members if name.endswith(end)), None)
        return _bounded(archive.getinfo(name).file_size, lambda: archive.read(name)) if name else None

    commands: frozenset[str] = frozenset()
    entry_points = ConfigParser(delimiters=("=",))
    entry_points.read_string(text(".dist-info/entry_points.txt") or "")
    for place in entry_points["napari.manifest"].values() if entry_points.has_section("napari.manifest") else ():
        module, _, manifest = place.partition(":")
        commands = command_ids(yaml.safe_load(text(f"{module.strip().replace('.', '/')}/{manifest.strip()}") or ""))
    return _described(path, text(".dist-info/METADATA"), commands)


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
    """Return the ids of the commands of a manifest; none of anything that isn't one."""
    contributions = manifest.get("contributions") if isinstance(manifest, dict) else None
    commands = contributions.get("commands") if isinstance(contributions, dict) else None
    return frozenset(str(one["id"]) for one in commands or () if isinstance(one, dict) and "id" in one)


def pythons_of(filename: str, requires_python: str, minors: Iterable[int]) -> set[int]:
    """Return the minors of CPython 3 that can install a file, on some platform; none for a name that pip would not take."""
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
    """The interpreter and ABI tags that a Python takes."""
    own = cpython_tags((3, minor), platforms=["any"])
    generic = compatible_tags((3, minor), f"cp3{minor}", ["any"])
    return frozenset(_pair(tag) for tag in (*own, *generic))


def _pair(tag: Tag) -> tuple[str, str]:
    return tag.interpreter, tag.abi


def napari_specifiers(files: Sequence[BuiltFile]) -> list[SpecifierSet]:
    """Return what the files require of napari, without what only an extra requires."""
    found = []
    for text in dict.fromkeys(text for file in files for text in file.requires_dist):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        only_extra = requirement.marker is not None and "extra" in str(requirement.marker)
        if canonicalize_name(requirement.name) == "napari" and not only_extra:
            found.append(requirement.specifier)
    return found
