"""What conda-forge's package files ask of Python, in conda's own match language and version order.

A package on conda-forge is built for certain Pythons whatever its Requires-Python says, so that channel has classes and
answers of its own. Matching and ordering are py-rattler's, the library behind pixi and mamba.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby

from napari_update_hook.wire import PackageUpdate
from rattler import BuildString, MatchSpec, PackageRecord, Version
from rattler.exceptions import InvalidMatchSpecError, InvalidVersionError

from update_server.index.compatibility import Candidate, updates_of
from update_server.index.model import CondaFile, CondaPackage, Package
from update_server.index.pythons import PythonClasses, PythonVersion, Rule

DECIDING = ("python", "python_abi", "napari")
"""Packages whose match specifications decide for whom a file is."""

_NAMED = re.compile(r"\b3\.([0-9]{1,2})(?:\.([0-9]{1,3}))?")


def name_of(specification: str) -> str:
    """Return the package that a match specification is about: ``python`` for ``python >=3.9``."""
    return re.split(r"[\s<>=!~\[]", specification.strip(), maxsplit=1)[0].rpartition("::")[2].lower()


def conda_classes(packages: Iterable[Package], minors: Iterable[int]) -> PythonClasses:
    """Return the classes of Python that the files on conda-forge tell apart."""
    files = [file for package in packages if package.conda for file in package.conda.files]
    texts = {text for file in files for text in (*file.depends, *file.constrains) if name_of(text) != "napari"}
    return PythonClasses({text: _rule(text) for text in sorted(texts)}, minors)


def conda_updates(
    package: Package, on_conda: CondaPackage, classes: PythonClasses, napari: str | None = None
) -> list[PackageUpdate]:
    """Return the answers for one package on conda-forge, for each class in the order of the bits.

    ``on_conda``: what the channel has of it. ``napari``: the version that a file must admit; None where that is not asked.
    """
    yanked = {
        version: "marked as broken on conda-forge"
        for version, files in _by_version(on_conda.files)
        if all(file.broken for file in files)
    }
    return updates_of(
        conda_candidates(on_conda, classes, napari if package.key != "napari" else None),
        classes,
        yanked=yanked,
        vulnerabilities={version: list(ids) for version, ids in package.vulnerabilities.items()},
        conda_name=on_conda.name if on_conda.name != package.key else None,
    )


def conda_candidates(on_conda: CondaPackage, classes: PythonClasses, napari: str | None = None) -> list[Candidate]:
    """Return the versions that may be an answer, the newest first: those with a file that is not marked as broken."""
    return [
        _candidate(version, sound, classes, napari)
        for version, files in _by_version(on_conda.files)
        if (sound := [file for file in files if not file.broken])
    ]


def _by_version(files: Sequence[CondaFile]) -> list[tuple[str, list[CondaFile]]]:
    """The files of each version, the newest first; those whose version conda cannot read are left out."""
    readable = [(parsed, file) for file in files if (parsed := _parsed(file.version)) is not None]
    readable.sort(key=lambda pair: pair[0], reverse=True)
    return [(version, [file for _, file in group]) for version, group in groupby(readable, lambda pair: pair[1].version)]


def _parsed(version: str) -> Version | None:
    try:
        return Version(version)
    except InvalidVersionError:
        return None


def _candidate(version: str, files: list[CondaFile], classes: PythonClasses, napari: str | None) -> Candidate:
    fits = admits = 0
    asked: dict[str, None] = {}
    for file in files:
        fitting = classes.all
        takes_napari = True
        for text in (*file.depends, *file.constrains):
            if name_of(text) == "napari":
                if needed := text.strip().partition(" ")[2]:
                    asked[needed] = None
                takes_napari = takes_napari and (napari is None or admits_napari(text, napari))
            else:
                fitting &= classes.admitted_by(text)
        fits |= fitting
        if takes_napari:
            admits |= fitting
    # Conda has no rule about pre-releases: the channel's main label holds what its solver may take.
    return Candidate(version, False, fits, admits, lambda _: classes.in_words(fits), " or ".join(asked))


@lru_cache(maxsize=65536)
def admits_napari(text: str, napari: str) -> bool:
    """Tell whether a match specification on napari admits a version. What can't be read excludes nothing."""
    try:
        return bool(MatchSpec(text).matches(_record("napari", napari, "pyhd8ed1ab_0")))
    except (InvalidMatchSpecError, InvalidVersionError):
        return True


def _rule(text: str) -> Rule:
    """What a match specification on Python admits. One that cannot be read admits everything: it excludes nothing."""
    try:
        specification = MatchSpec(text)
    except InvalidMatchSpecError:
        return Rule(lambda _: True)
    named = tuple(PythonVersion(int(minor), int(patch or 0)) for minor, patch in _NAMED.findall(text))
    builds = _python_builds if name_of(text) == "python" else _abi_builds
    return Rule(lambda python: any(specification.matches(record) for record in builds(python)), named)


def _python_builds(python: PythonVersion) -> list[PackageRecord]:
    """CPython as conda-forge names its builds: ``h1_0_cpython`` up to 3.12, ``h1_0_cp313`` since."""
    return [_record("python", str(python.full), f"h0_0_{kind}") for kind in ("cpython", f"cp3{python.minor}")]


def _abi_builds(python: PythonVersion) -> list[PackageRecord]:
    """The ABI marker of a CPython with the GIL; up to 3.7 it ends in ``m``."""
    return [_record("python_abi", python.feature_release, f"0_cp3{python.minor}" + ("m" if python.minor < 8 else ""))]


def _record(name: str, version: str, build: str) -> PackageRecord:
    return PackageRecord(name=name, version=version, build=BuildString(build), build_number=0, subdir="linux-64")
