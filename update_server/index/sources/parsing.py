"""Upstream JSON into facts: pure functions, one for each format that is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

import msgspec
from msgspec import Struct
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from update_server.index.conda import DECIDING, name_of
from update_server.index.model import CondaFile, CondaPackage, File, Release, in_descending_order
from update_server.index.pythons import is_specifier

MOST_SKIPPED = 20
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}$")
SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"


class _SimpleFile(Struct):
    filename: str
    requires_python: str | None = msgspec.field(name="requires-python", default=None)
    yanked: bool | str = False
    url: str = ""
    upload_time: str = msgspec.field(name="upload-time", default="")
    core_metadata: bool | dict[str, str] = msgspec.field(name="core-metadata", default=False)
    dist_info_metadata: bool | dict[str, str] = msgspec.field(name="data-dist-info-metadata", default=False)


class _SimpleProject(Struct):
    files: list[_SimpleFile]


class _Command(Struct):
    id: str


class _Contributions(Struct):
    commands: list[_Command] | None = None


class _Manifest(Struct):
    contributions: _Contributions | None = None


class _CondaAttributes(Struct):
    depends: list[str] | None = None
    constrains: list[str] | None = None


class _CondaFile(Struct):
    version: str
    attrs: _CondaAttributes
    labels: list[str]


class _CondaProject(Struct):
    name: str
    files: list[_CondaFile]


class ProjectPage(Struct, frozen=True):
    """What a project page tells: releases, the newest first, and where the metadata of some of them is, by version.

    Behind the ``#`` of such an address stands the SHA-256 of the metadata, where the page tells it. ``skipped``: names of
    files, and specifiers, that can't be read, in words.
    """

    releases: tuple[Release, ...]
    metadata_urls: dict[str, str]
    skipped: str = ""


def project_page(text: bytes, address: str) -> ProjectPage:
    """Read a project page of the simple API (PEP 691, 700, 714) that came from ``address``.

    That page is what pip itself reads. Files whose names pip would not take either (eggs, other names) are passed over.
    Raises msgspec.MsgspecError for another form.
    """
    by_version: dict[str, list[File]] = {}
    uploaded: dict[str, str] = {}
    metadata_urls: dict[str, str] = {}
    skipped: dict[str, None] = {}
    for item in msgspec.json.decode(text, type=_SimpleProject).files:
        try:
            parsed = _version_and_tags(item.filename)
        except (InvalidWheelFilename, InvalidSdistFilename) as error:
            skipped[f"{item.filename[:100]}: {type(error).__name__}"] = None
            continue
        if parsed is None:
            continue
        version, tags = parsed
        if item.requires_python and not is_specifier(item.requires_python):
            skipped[
                f"Requires-Python {item.requires_python[:100]!r} of {version} is no specifier, and so admits every Python"
            ] = None
        if _DAY.match(day := item.upload_time[:10]):
            uploaded[version] = min(day, uploaded.get(version, day))
        yanked = None if item.yanked is False else ("" if item.yanked is True else item.yanked)
        by_version.setdefault(version, []).append(File(item.requires_python or None, yanked, tags))
        if item.url and (item.core_metadata or item.dist_info_metadata):
            hashes = item.core_metadata or item.dist_info_metadata
            digest = hashes.get("sha256", "") if isinstance(hashes, dict) else ""
            metadata_urls.setdefault(version, f"{urljoin(address, item.url)}.metadata#{digest}")
    releases = in_descending_order(
        Release(version, tuple(dict.fromkeys(files)), uploaded=uploaded.get(version)) for version, files in by_version.items()
    )
    return ProjectPage(releases, metadata_urls, "; ".join(list(skipped)[:MOST_SKIPPED]))


def _version_and_tags(filename: str) -> tuple[str, tuple[str, ...] | None] | None:
    """Version and pairs of a wheel, version of an sdist; None for other kinds of files, which pip does not take."""
    if filename.endswith(".whl"):
        _, version, _, tags = parse_wheel_filename(filename)
        return str(version), tuple(sorted({f"{tag.interpreter}-{tag.abi}" for tag in tags}))
    if not filename.endswith((".tar.gz", ".zip")):
        return None
    _, version = parse_sdist_filename(filename)
    return str(version), None


def commands_of(manifest: bytes) -> tuple[str, ...]:
    """Return the command ids that an npe2 manifest declares. Raises msgspec.MsgspecError for another form."""
    contributions = msgspec.json.decode(manifest, type=_Manifest).contributions
    return tuple(command.id for command in (contributions and contributions.commands) or ())


def conda_package(text: bytes) -> CondaPackage:
    """Return a package of the anaconda.org API: those files that are, or were, on the channel's main label.

    Raises msgspec.MsgspecError for another form.
    """
    project = msgspec.json.decode(text, type=_CondaProject)
    files = (
        CondaFile(item.version, _deciding(item.attrs.depends), _deciding(item.attrs.constrains), "broken" in item.labels)
        for item in project.files
        if "main" in item.labels or "broken" in item.labels
    )
    return CondaPackage(project.name, tuple(dict.fromkeys(files)))


def _deciding(specifications: list[str] | None) -> tuple[str, ...]:
    return tuple(text for text in specifications or () if name_of(text) in DECIDING)


def object_of(text: bytes) -> Mapping[str, Any]:
    """Return a JSON object. Raises msgspec.MsgspecError for anything else."""
    return msgspec.json.decode(text, type=dict[str, Any])
