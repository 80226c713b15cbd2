"""Which napari does a release ask for?

A plugin that pins an old napari silently downgrades it when it is updated (napari#5279). A release says what it needs in the
Requires-Dist of its metadata, with markers that may depend on Python and platform. It is ruled out only where it is on every
platform; what is unknown rules out nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from update_server.index.pythons import PythonClasses, PythonVersion

PLATFORMS: tuple[dict[str, str], ...] = (
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
)


def napari_requirements(requires_dist: Iterable[str]) -> tuple[str, ...]:
    """Return those of a release's requirements that ask for certain napari versions, as published.

    Those that an extra alone asks for, and those that can't be read, are left out.
    """
    return tuple(text for text in requires_dist if _decides(text))


def _decides(text: str) -> bool:
    requirement = _parsed(text)
    if requirement is None or canonicalize_name(requirement.name) != "napari" or not str(requirement.specifier):
        return False
    return any(_applies(requirement, PythonVersion(minor), platform) for minor in range(6, 20) for platform in PLATFORMS)


def admitted(requirements: tuple[str, ...] | None, napari: Version, classes: PythonClasses) -> int:
    """Return the set of classes for which a release with these requirements admits ``napari``; all where they are unknown."""
    if not requirements:
        return classes.all
    if all((requirement := _parsed(text)) is None or requirement.marker is None for text in requirements):
        return classes.all if all(admits(text, napari) for text in requirements) else 0
    return classes.where(lambda python: any(_all_admit(requirements, napari, python, platform) for platform in PLATFORMS))


def _all_admit(requirements: tuple[str, ...], napari: Version, python: PythonVersion, platform: dict[str, str]) -> bool:
    for text in requirements:
        requirement = _parsed(text)
        if requirement is not None and _applies(requirement, python, platform) and not admits(text, napari):
            return False
    return True


def in_words(requirements: tuple[str, ...] | None) -> str:
    """Return what a release asks of napari, as specifiers: ``<0.9,>=0.7``; joined with "or" where markers choose among them."""
    parsed = [requirement for text in requirements or () if (requirement := _parsed(text)) is not None]
    join = " or " if any(requirement.marker is not None for requirement in parsed) else ","
    return join.join(dict.fromkeys(str(requirement.specifier) for requirement in parsed))


def _applies(requirement: Requirement, python: PythonVersion, platform: dict[str, str]) -> bool:
    if requirement.marker is None:
        return True
    of_python = {"python_version": python.feature_release, "python_full_version": str(python.full), "extra": ""}
    try:
        return requirement.marker.evaluate({"implementation_name": "cpython", **of_python, **platform})
    except (UndefinedComparison, UndefinedEnvironmentName, ValueError):  # a marker that makes no sense applies to nobody
        return False


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


@lru_cache(maxsize=65536)
def admits(text: str, napari: str | Version) -> bool:
    """Tell whether one requirement admits a napari, wherever it applies. What can't be read admits all."""
    requirement = _parsed(text)
    return requirement is None or requirement.specifier.contains(napari, prereleases=True)
