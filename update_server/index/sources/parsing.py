"""Parsers of upstream JSON: pure functions, one per format.

Anyone can upload this data, so all work is bounded and omitted data is reported. Parsing takes milliseconds: call it in a
thread.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urljoin

import msgspec
from msgspec import Struct
from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, NormalizedName, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from update_server.index.compatibility import applies_without_extra
from update_server.index.conda import PYTHON_DEPS, is_package_name, name_of
from update_server.index.model import CondaFile, CondaPackage, File, Release, sort_newest_first
from update_server.index.pythons import is_specifier, named_pythons

MAX_FILES = 5_000
"""Maximum number of files of a project; the largest has 735."""

MAX_TAGS = 64
"""Maximum number of tags of a wheel; the largest known number is 5."""

MAX_PYTHONS = 30
"""Maximum number of Python versions that a project names; the largest known number is 10."""

MAX_FILE_NAME = 255
MAX_PROJECT_NAME = 100
MAX_REQUIREMENTS = 500

MAX_REQUIREMENT = 1_000
"""Maximum length in characters."""

MAX_KEPT_REQUIREMENTS = 100
MAX_MARKERS = 10

MAX_MARKER = 300
"""Maximum length in characters. Markers are evaluated for every Python version on three platforms."""

MAX_CONDA_FILES = 5_000
MAX_DEPENDS = 300
MAX_SPECIFICATION = 200
"""Maximum length in characters."""

MAX_COMMANDS = 1_000
MAX_REASON = 200
"""Maximum length in characters."""

MAX_SKIPPED = 20

SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"
SDISTS = (".tar.gz", ".tgz", ".tar", ".zip", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tlz", ".tar.lz", ".tar.lzma")
"""Endings of source distributions that pip recognizes."""

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}$")
_PROJECT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")


class TooLargeError(ValueError):
    """The metadata exceeds a limit."""


class _SimpleFile(Struct):
    filename: str
    requires_python: str | None = msgspec.field(name="requires-python", default=None)
    yanked: bool | str | None = False
    url: str = ""
    upload_time: str | None = msgspec.field(name="upload-time", default=None)
    core_metadata: bool | dict[str, str] | None = msgspec.field(name="core-metadata", default=None)
    dist_info_metadata: bool | dict[str, str] | None = msgspec.field(name="data-dist-info-metadata", default=None)


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


# Created at import: msgspec 0.22 crashes if several threads are the first to use a type.
_decode_simple = msgspec.json.Decoder(_SimpleProject).decode
_decode_manifest = msgspec.json.Decoder(_Manifest).decode
_decode_conda = msgspec.json.Decoder(_CondaProject).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class ProjectPage(Struct, frozen=True):
    """A project's files on PyPI.

    ``metadata_urls``: by version, followed by ``#`` and the SHA-256 if known. ``skipped``: omitted data, with reasons.
    """

    releases: tuple[Release, ...]
    metadata_urls: dict[str, str]
    skipped: str = ""


class Requirements(Struct, frozen=True):
    """The requirements of a release; fields as in `Release`."""

    requires: tuple[str, ...]
    is_invalid: bool = False
    note: str = ""


def is_project_name(name: object) -> bool:
    """Return whether a name is valid by PEP 508 and not too long."""
    return isinstance(name, str) and len(name) <= MAX_PROJECT_NAME and _PROJECT_NAME.match(name) is not None


def is_version(text: object) -> bool:
    """Return whether a text is a PEP 440 version and not too long."""
    try:
        return isinstance(text, str) and len(text) <= MAX_PROJECT_NAME and Version(text) is not None
    except InvalidVersion:
        return False


def project_page(text: bytes, address: str, key: NormalizedName) -> ProjectPage:
    """Parse a page of the simple API (PEP 691, 700, 714) from ``address``, without files that pip ignores.

    Raises msgspec.MsgspecError.
    """
    files = _decode_simple(text).files
    by_version: dict[str, list[File]] = {}
    uploaded: dict[str, str] = {}
    metadata_urls: dict[str, str] = {}
    skipped: dict[str, None] = dict.fromkeys([f"{len(files)} files: {MAX_FILES} are read"] if len(files) > MAX_FILES else [])
    for item in files[-MAX_FILES:]:  # in upload order
        try:
            parsed = version_and_tags(item.filename, key)
        except ValueError as error:
            skipped[f"{item.filename[:100]}: {error or type(error).__name__}"] = None
            continue
        if parsed is None:
            continue
        version, tags = parsed
        if item.requires_python and not is_specifier(item.requires_python):
            skipped[
                f"Requires-Python {item.requires_python[:100]!r} of {version} is not a specifier, so it allows every Python"
            ] = None
        if _DAY.match(day := (item.upload_time or "")[:10]):
            uploaded[version] = min(day, uploaded.get(version, day))
        yanked = item.yanked if isinstance(item.yanked, str) else "" if item.yanked else None
        by_version.setdefault(version, []).append(File(item.requires_python or None, yanked and yanked[:MAX_REASON], tags))
        hashes = item.core_metadata or item.dist_info_metadata
        if item.url and hashes:
            digest = hashes.get("sha256", "") if isinstance(hashes, dict) else ""
            metadata_urls.setdefault(version, f"{urljoin(address, item.url)}.metadata#{digest}")
    releases = sort_newest_first(
        Release(version, tuple(dict.fromkeys(files)), uploaded=uploaded.get(version)) for version, files in by_version.items()
    )
    kept = _limit_pythons(releases)
    if len(kept) < len(releases):
        skipped[f"{len(releases) - len(kept)} releases: more than {MAX_PYTHONS} versions of Python are named"] = None
    return ProjectPage(kept, metadata_urls, "; ".join(list(skipped)[:MAX_SKIPPED]))


def too_many_pythons(texts: Iterable[str]) -> bool:
    return len({python for text in texts for python in named_pythons(text)}) > MAX_PYTHONS


def _limit_pythons(releases: tuple[Release, ...]) -> tuple[Release, ...]:
    """Keep the newest releases that together name at most `MAX_PYTHONS`."""
    named: set[tuple[int, int]] = set()
    kept = []
    for release in releases:
        texts = {file.requires_python for file in release.files if file.requires_python}
        more = {(python.minor, python.patch) for text in texts for python in named_pythons(text)}
        if len(named | more) <= MAX_PYTHONS:
            named |= more
            kept.append(release)
    return tuple(kept)


def version_and_tags(filename: str, key: NormalizedName) -> tuple[str, tuple[str, ...] | None] | None:
    """Parse a file name as pip does. Return the version and the interpreter-ABI pairs (None for an sdist).

    Return None if pip ignores the file. Raises ValueError if the name is invalid.
    """
    if len(filename) > MAX_FILE_NAME:
        raise ValueError(f"a name of more than {MAX_FILE_NAME} characters")
    if filename.endswith(".whl"):
        combinations = 1
        for part in filename.removesuffix(".whl").split("-")[-3:]:
            combinations *= part.count(".") + 1
        if combinations > MAX_TAGS:
            raise ValueError(f"more than {MAX_TAGS} tags")
        try:
            name, wheel_version, _, tags = parse_wheel_filename(filename)
        except InvalidWheelFilename:
            raise ValueError("not a valid wheel name") from None
        if name != key:
            raise ValueError(f"a wheel of {name}")
        return str(wheel_version), tuple(sorted({f"{tag.interpreter}-{tag.abi}" for tag in tags}))
    suffix = next((suffix for suffix in SDISTS if filename.lower().endswith(suffix)), None)
    if suffix is None:
        return None
    stem = filename[: -len(suffix)]
    dashes = (number for number, character in enumerate(stem) if character == "-")
    start = next((dash + 1 for dash in dashes if canonicalize_name(stem[:dash]) == key), None)
    if start is None:
        raise ValueError("not a valid name for a source distribution of this project")
    try:
        return str(Version(stem[start:])), None
    except InvalidVersion:
        raise ValueError(f"{stem[start:]!r} is not a version") from None


def requirements_of(requires_dist: Iterable[str], minors: Iterable[int]) -> Requirements:
    """Keep requirements that name a version and apply without an extra on some Python. Raises TooLargeError."""
    texts = list(requires_dist)
    if len(texts) > MAX_REQUIREMENTS or any(len(text) > MAX_REQUIREMENT for text in texts):
        raise TooLargeError(f"more than {MAX_REQUIREMENTS} requirements, or one longer than {MAX_REQUIREMENT} characters")
    try:
        for text in texts:
            Requirement(text)
    except InvalidRequirement:
        return Requirements((), is_invalid=True, note=f"{text[:100]!r} is not a requirement, so pip ignores the release")
    kept = tuple(text for text in dict.fromkeys(texts) if applies_without_extra(text, minors))
    markers = [marker for text in kept if (marker := text.partition(";")[2])]
    if len(kept) > MAX_KEPT_REQUIREMENTS or len(markers) > MAX_MARKERS or any(len(text) > MAX_MARKER for text in markers):
        raise TooLargeError(f"more than {MAX_KEPT_REQUIREMENTS} requirements with versions, or {MAX_MARKERS} with markers")
    return Requirements(kept)


def requirements_of_metadata(text: bytes, minors: Iterable[int]) -> Requirements:
    """Return the requirements in a METADATA file. Raises TooLargeError."""
    raw, _ = parse_email(text)
    return requirements_of(raw.get("requires_dist", ()), minors)


def commands_of(manifest: bytes) -> tuple[str, ...]:
    """Return the command ids of a manifest. Raises msgspec.MsgspecError."""
    contributions = _decode_manifest(manifest).contributions
    return tuple(command.id for command in ((contributions and contributions.commands) or ())[:MAX_COMMANDS])


def conda_package(text: bytes, names: frozenset[str]) -> CondaPackage | None:
    """Return a package's files on anaconda.org with the label main or broken, or None if its name is invalid.

    ``names``: normalized names whose versions matter. Raises msgspec.MsgspecError and TooLargeError.
    """
    project = _decode_conda(text)
    if len(project.files) > MAX_CONDA_FILES:
        raise TooLargeError(f"more than {MAX_CONDA_FILES} files on conda-forge")
    if not is_package_name(project.name):
        return None
    files = tuple(
        CondaFile(
            item.version[:MAX_PROJECT_NAME],
            _relevant_specifications(item.attrs.depends, names),
            _relevant_specifications(item.attrs.constrains, names),
            "broken" in item.labels,
        )
        for item in project.files
        if "main" in item.labels or "broken" in item.labels
    )
    if too_many_pythons(text for file in files for text in (*file.depends, *file.constrains) if name_of(text) in PYTHON_DEPS):
        raise TooLargeError(f"files on conda-forge name more than {MAX_PYTHONS} versions of Python")
    return CondaPackage(project.name, tuple(dict.fromkeys(files)))


def _relevant_specifications(specifications: list[str] | None, names: frozenset[str]) -> tuple[str, ...]:
    found = specifications or []
    if len(found) > MAX_DEPENDS or any(len(text) > MAX_SPECIFICATION for text in found):
        raise TooLargeError(f"more than {MAX_DEPENDS} dependencies on conda-forge, or one longer than {MAX_SPECIFICATION}")
    return tuple(
        text
        for text in found
        if (name := name_of(text)) in PYTHON_DEPS or (canonicalize_name(name) in names and text.strip().lower() != name)
    )


def json_object(text: bytes) -> Mapping[str, Any]:
    """Decode a JSON object. Raises msgspec.MsgspecError."""
    return _decode_object(text)
