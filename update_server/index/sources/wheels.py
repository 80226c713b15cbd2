"""Reads a plugin's manifest and metadata out of a wheel: a zip file from a stranger.

Nothing is installed, built or imported, and nothing is written: members are read in bounds. (`npe2.fetch_manifest` would build
an sdist, that is, run the stranger's code.)
"""

from __future__ import annotations

import configparser
import io
import json
import tomllib
import zipfile
from typing import Any

import yaml
from msgspec import Struct
from npe2 import PackageMetadata, PluginManifest
from packaging.metadata import RawMetadata, parse_email
from pydantic import ValidationError

MOST_MEMBERS = 100_000
MOST_BYTES = 2**20
"""That one member may unpack to."""

MOST_MANIFEST = 2**18
"""Characters of a manifest; the longest known has a tenth of it."""

MOST_TOML = 2**16
"""The parser's time grows with the square of what nested keys make of it."""

MOST_ALIASES = 20
"""In a YAML file: nested ones multiply ("billion laughs")."""


LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class UnusableWheelError(Exception):
    """A wheel without a manifest that can be read; the text says why."""


class WheelContent(Struct, frozen=True):
    """What a wheel says of itself: its manifest as JSON, whether it wants to be listed, and its metadata."""

    manifest: bytes
    is_public: bool
    display_name: str
    metadata: RawMetadata
    readers: tuple[tuple[str, ...], ...]


def read_wheel(wheel: bytes) -> WheelContent:
    """Return the manifest and metadata of a wheel. Takes up to a second: to be run in a thread. Raises UnusableWheelError."""
    try:
        return _read(wheel)
    except UnusableWheelError:
        raise
    except Exception as error:  # whatever a stranger's file makes a parser raise means that it is no use
        raise UnusableWheelError(f"the wheel can't be read: {type(error).__name__}: {str(error)[:200]}") from error


def _read(wheel: bytes) -> WheelContent:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        if len(archive.infolist()) > MOST_MEMBERS:
            raise UnusableWheelError("the wheel has too many members")
        raw = _metadata(archive)
        text, ending = _manifest(archive)
    manifest = _checked(_parsed(text, ending))
    known = manifest.model_copy(update={"package_metadata": _package_metadata(raw)})
    patterns = tuple(tuple(reader.filename_patterns or ()) for reader in manifest.contributions.readers or ())
    return WheelContent(
        known.model_dump_json(exclude={"npe1_shim"}).encode(),
        manifest.visibility == "public",
        manifest.display_name or raw.get("name", ""),
        raw,
        patterns,
    )


def _metadata(archive: zipfile.ZipFile) -> RawMetadata:
    raw, _ = parse_email(_member(archive, ".dist-info/METADATA"))
    return raw


def _manifest(archive: zipfile.ZipFile) -> tuple[str, str]:
    """The text of the manifest that the entry point names, and the ending of its file name."""
    try:
        entries = configparser.ConfigParser(delimiters=("=",), interpolation=None)
        entries.read_string(_member(archive, ".dist-info/entry_points.txt").decode("utf-8"))
    except KeyError:
        raise UnusableWheelError("No npe2 or npe1 entry point found in wheel") from None
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UnusableWheelError(f"its entry points can't be read: {error}") from error
    if not entries.has_section("napari.manifest"):
        if entries.has_section("napari.plugin"):
            raise UnusableWheelError("it is an npe1 plugin: what it contributes is known only by running it")
        raise UnusableWheelError("No npe2 or npe1 entry point found in wheel")
    value = next(iter(entries["napari.manifest"].values()))
    module, _, filename = value.partition(":")
    path = f"{module.strip().replace('.', '/')}/{filename.strip()}"
    try:
        return _member(archive, path).decode("utf-8"), filename.rpartition(".")[2].strip()
    except KeyError:
        raise UnusableWheelError(f"manifest {filename!r} does not exist in distribution") from None
    except UnicodeDecodeError as error:
        raise UnusableWheelError(f"its manifest is no text: {error}") from error


def _member(archive: zipfile.ZipFile, ending: str) -> bytes:
    """A member of the archive by the end of its name, at most `MOST_BYTES` of it. Raises KeyError."""
    for info in archive.infolist():
        if info.filename == ending or (
            ending.startswith(".") and info.filename.endswith(ending) and info.filename.count("/") == 1
        ):
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise UnusableWheelError(f"{info.filename} is compressed in a way that can't be read in bounds")
            with archive.open(info) as member:
                content = member.read(MOST_BYTES + 1)
            if len(content) > MOST_BYTES:
                raise UnusableWheelError(f"{info.filename} is longer than {MOST_BYTES} bytes")
            return content
    raise KeyError(ending)


def _parsed(text: str, ending: str) -> Any:
    if len(text) > MOST_MANIFEST:
        raise UnusableWheelError(f"its manifest is longer than {MOST_MANIFEST} characters")
    try:
        if ending == "toml":
            if len(text) > MOST_TOML:
                raise UnusableWheelError(f"its manifest is longer than {MOST_TOML} characters of TOML")
            return tomllib.loads(text)
        if ending == "json":
            return json.loads(text)
        aliases = sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=LOADER))
        if aliases > MOST_ALIASES:
            raise UnusableWheelError(f"its manifest has {aliases} YAML aliases, which none needs")
        return yaml.load(text, Loader=LOADER)  # noqa: S506 - a safe loader, the C one where it is there
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise UnusableWheelError(f"its manifest can't be read: {error}") from error


def _checked(data: Any) -> PluginManifest:
    if not isinstance(data, dict):
        raise UnusableWheelError("its manifest is no mapping")
    try:
        manifest: PluginManifest = PluginManifest.model_validate(data)
        return manifest
    except (ValidationError, TypeError, ValueError) as error:
        raise UnusableWheelError(f"its manifest breaks a rule of npe2: {str(error).splitlines()[0]}") from error


def _package_metadata(raw: RawMetadata) -> PackageMetadata | None:
    urls = [f"{label}, {url}" for label, url in raw.get("project_urls", {}).items()]
    try:
        return PackageMetadata(
            metadata_version=raw.get("metadata_version", "1.0"),
            name=raw.get("name", ""),
            version=raw.get("version", ""),
            summary=raw.get("summary"),
            description=raw.get("description"),
            author=raw.get("author"),
            author_email=raw.get("author_email"),
            license=raw.get("license"),
            home_page=raw.get("home_page"),
            project_url=urls or None,
            requires_dist=raw.get("requires_dist"),
            requires_python=raw.get("requires_python"),
            classifier=raw.get("classifiers"),
        )
    except ValidationError:
        return None
