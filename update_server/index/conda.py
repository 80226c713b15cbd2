"""Compatibility on conda-forge, by conda's match specifications and version order (as in py-rattler).

conda-forge builds for certain Python versions regardless of Requires-Python, so this channel is evaluated separately. The
results are PEP 440 specifiers.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import groupby

from napari_update_hook.table import admits, parsed_specifier
from packaging.version import Version as PEP440Version
from rattler import BuildString, MatchSpec, PackageRecord, Version
from rattler.exceptions import InvalidMatchSpecError, InvalidVersionError

from update_server.index.compatibility import Alternative, Candidate, Compatibility, Requires, merge_alternatives
from update_server.index.model import CondaFile, CondaPackage
from update_server.index.pythons import PythonDomain, PythonVersion

PYTHON_DEPS = ("python", "python_abi", "cpython", "_python_abi3_support")
"""Dependencies that restrict Python versions (the last two: conda/ceps#86)."""

BROKEN = "marked as broken on conda-forge"

_NAME = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,127}\Z")


def is_package_name(text: str) -> bool:
    return _NAME.match(text) is not None


def name_of(specification: str) -> str:
    """Return the package name: ``python`` for ``python >=3.9``."""
    return re.split(r"[\s<>=!~\[]", specification.strip(), maxsplit=1)[0].rpartition("::")[2].lower()


def conda_compatibility(
    on_conda: CondaPackage, last_minor: int, naparis: Sequence[str], names: Mapping[str, str]
) -> Compatibility:
    """Return a package's compatibility. ``names``: normalized names of the table's packages by conda-forge name."""
    texts = {text for file in on_conda.files for text in (*file.depends, *file.constrains) if name_of(text) in PYTHON_DEPS}
    domain = PythonDomain(texts, last_minor)
    candidates = tuple(
        # Conda has no rule for pre-releases: its solver accepts anything with the main label.
        Candidate(version, False, merge_alternatives(_alternative(file, domain, naparis, names) for file in sound))
        for version, files in by_version(on_conda.files)
        if (sound := [file for file in files if not file.broken])
    )
    return Compatibility(domain, candidates)


def broken_releases(on_conda: CondaPackage) -> dict[str, str]:
    """Return the versions whose files are all marked as broken."""
    return {version: BROKEN for version, files in by_version(on_conda.files) if all(file.broken for file in files)}


def by_version(files: Sequence[CondaFile]) -> list[tuple[str, list[CondaFile]]]:
    """Group files by version, newest first, without versions that conda cannot parse."""
    readable = [(parsed, file) for file in files if (parsed := _parsed(file.version)) is not None]
    readable.sort(key=lambda pair: pair[0], reverse=True)
    return [(version, [file for _, file in group]) for version, group in groupby(readable, lambda pair: pair[1].version)]


def _parsed(version: str) -> Version | None:
    try:
        return Version(version)
    except InvalidVersionError:
        return None


def _alternative(file: CondaFile, domain: PythonDomain, naparis: Sequence[str], names: Mapping[str, str]) -> Alternative:
    pythons, requires_napari, requires = domain.all, [], {}
    for text in (*file.depends, *file.constrains):
        name = name_of(text)
        if name in PYTHON_DEPS:
            pythons &= _allowed_pythons(text, domain)
        elif name == "napari":
            requires_napari.append(napari_specifier(text, tuple(naparis)))
        elif name in names and (specifier := as_specifier(text)) and text in file.depends:
            requires[names[name]] = specifier
    of_others: Requires = tuple(sorted(requires.items()))
    return Alternative(pythons, ",".join(dict.fromkeys(filter(None, requires_napari))), of_others)


def _allowed_pythons(text: str, domain: PythonDomain) -> int:
    return domain.where(lambda python: _allows_python(text, python))


@lru_cache(maxsize=65536)
def _allows_python(text: str, python: PythonVersion) -> bool:
    """Return whether a specification allows a Python version; an invalid one allows all."""
    specification = _match_spec(text)
    return specification is None or any(specification.matches(record) for record in _records(name_of(text), python))


@lru_cache(maxsize=4096)
def _match_spec(text: str) -> MatchSpec | None:
    try:
        return MatchSpec(text)
    except InvalidMatchSpecError:
        return None


@lru_cache(maxsize=4096)
def _records(name: str, python: PythonVersion) -> list[PackageRecord]:
    """Return the packages of that name for CPython with the GIL, with build strings as on conda-forge."""
    minor, full = python.minor, python.full
    if name == "python_abi":
        return [_record(name, python.feature_release, f"0_cp3{minor}" + ("m" if minor < 8 else ""))]
    if name == "cpython":
        return [_record(name, full, f"py3{minor}hd8ed1ab_0")]
    if name == "python":  # ``h1_0_cpython`` up to 3.12, ``h1_0_cp313`` from 3.13
        return [_record(name, full, f"h0_0_{kind}") for kind in ("cpython", f"cp3{minor}")]
    return [_record(name, "1.0", "hd8ed1ab_2")]


def _record(name: str, version: str, build: str) -> PackageRecord:
    return PackageRecord(name=name, version=version, build=BuildString(build), build_number=0, subdir="linux-64")


@lru_cache(maxsize=65536)
def allows_napari(text: str, napari: str) -> bool:
    """Return whether a specification allows a napari version; an invalid one allows all."""
    specification = _match_spec(text)
    try:
        return specification is None or bool(specification.matches(_record("napari", napari, "pyhd8ed1ab_0")))
    except InvalidVersionError:
        return True


@lru_cache(maxsize=4096)
def napari_specifier(text: str, naparis: tuple[str, ...]) -> str:
    """Return a PEP 440 specifier that allows the same published napari versions (``naparis``)."""
    admitted = {napari for napari in naparis if allows_napari(text, napari)}
    translated = as_specifier(text)
    if translated is not None and {napari for napari in naparis if admits(translated, napari)} == admitted:
        return translated
    if not naparis or len(admitted) == len(naparis):
        return ""
    newest_first = sorted(naparis, key=PEP440Version, reverse=True)
    excluded = [napari for napari in newest_first if napari not in admitted]
    newest_admitted = next((number for number, napari in enumerate(newest_first) if napari in admitted), None)
    if newest_admitted is None:
        return ",".join(f"!={napari}" for napari in excluded)
    beyond = [f"<{newest_first[newest_admitted - 1]}"] if newest_admitted else []
    return ",".join([*beyond, *(f"!={napari}" for napari in excluded if newest_first.index(napari) > newest_admitted)])


_CLAUSE = re.compile(r"(==|!=|>=|<=|>|<|~=|=)?([0-9][0-9A-Za-z.!+]*?)(\.?\*)?\Z")


def as_specifier(text: str) -> str | None:
    """Convert ``napari 0.7.*`` to ``==0.7.*``. Return "" if it has no version, None if PEP 440 cannot express it."""
    rest = re.sub(r"^[^\s<>=!~\[]+", "", text.strip()).strip()
    version = re.sub(r"([<>=!~,])\s+", r"\1", rest).partition(" ")[0]
    clauses = []
    for clause in version.split(","):
        if clause in ("", "*"):
            continue
        match = _CLAUSE.match(clause)
        if match is None:
            return None
        operator, number, wildcard = match[1] or "==", match[2], match[3]
        if operator in ("==", "=", "!=") and (wildcard or operator == "="):
            clauses.append(f"{'!=' if operator == '!=' else '=='}{number}.*")
        elif operator in (">=", "<=", ">", "<", "~=", "==", "!="):
            clauses.append(operator + number)
    specifier = ",".join(clauses)
    return specifier if not specifier or parsed_specifier(specifier) is not None else None
