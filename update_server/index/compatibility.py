"""Compatibility of releases with Python and napari versions.

pip and conda's solver decide this for one environment, and are the references. Here each release becomes a `Candidate` with
sets of Python versions; `table_rows` keeps the candidates that some environment would install.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from msgspec import Struct
from napari_update_hook.table import Release as Row
from napari_update_hook.table import admits
from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from update_server.index.model import File, Package, Release, is_prerelease
from update_server.index.pythons import PythonDomain, PythonVersion, is_specifier, named_pythons

PLATFORMS: tuple[dict[str, str], ...] = (
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
)

CPYTHON = {
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "platform_release": "",
    "platform_version": "",
    "extra": "",
}
"""Values of environment markers; fixed, so that results do not depend on this machine."""

Requires = tuple[tuple[str, str], ...]


class Alternative(Struct, frozen=True):
    """Requirements of a release on a set of Python versions."""

    pythons: int
    requires_napari: str = ""
    requires: Requires = ()


class Candidate(Struct, frozen=True):
    """An installable release. ``texts``: published specifiers by the set of Python versions that they allow."""

    version: str
    is_prerelease: bool
    alternatives: tuple[Alternative, ...]
    texts: dict[int, str] = {}

    @property
    def pythons(self) -> int:
        """Python versions that can install it, whatever the napari version."""
        found = 0
        for alternative in self.alternatives:
            found |= alternative.pythons
        return found

    def fits(self, python: int, napari: str | None) -> bool:
        return any(
            alternative.pythons & python and (napari is None or admits(alternative.requires_napari, napari))
            for alternative in self.alternatives
        )


class Compatibility(Struct, frozen=True):
    """Compatibility of one package on one channel. ``candidates``: newest first."""

    domain: PythonDomain
    candidates: tuple[Candidate, ...]

    def fitting(self, python: PythonVersion | None, napari: str | None = None) -> list[str]:
        """Return compatible versions, newest first. None stands for any Python or napari version."""
        return [candidate.version for candidate in self.candidates if candidate.fits(self._point(python), napari)]

    def best(self, python: PythonVersion | None, napari: str | None = None) -> str | None:
        """Return the version that an installer would choose."""
        point = self._point(python)
        on_python = [candidate for candidate in self.candidates if candidate.pythons & point]
        finals = [candidate for candidate in on_python if not candidate.is_prerelease]
        return next((candidate.version for candidate in finals or on_python if candidate.fits(point, napari)), None)

    def _point(self, python: PythonVersion | None) -> int:
        return self.domain.all if python is None else self.domain.bit(python)


def table_rows(compatibility: Compatibility, naparis: Sequence[str], *, all_finals: bool = False) -> list[Row]:
    """Return the releases that some environment would install, with or without napari.

    ``all_finals``: keep every final release, because update plans need all of napari's. Pre-releases count only on Python
    versions without a compatible final release (PEP 440).
    """
    domain, candidates = compatibility.domain, compatibility.candidates
    unanswered = [domain.all] * (len(naparis) + 1)
    without_final = domain.all
    for candidate in candidates:
        if not candidate.is_prerelease:
            without_final &= ~candidate.pythons
    rows = []
    for candidate in sorted(candidates, key=lambda one: one.is_prerelease):  # stable sort: newest first
        for alternative in candidate.alternatives:
            pythons = alternative.pythons & (without_final if candidate.is_prerelease else domain.all)
            admitting = [0, *(number for number, one in enumerate(naparis, 1) if admits(alternative.requires_napari, one))]
            text = candidate.texts.get(pythons)
            for part, specifier in [(pythons, text)] if text is not None else domain.specifiers(pythons):
                answers = [number for number in admitting if unanswered[number] & part]
                for number in answers:
                    unanswered[number] &= ~part
                if answers or (all_finals and part and not candidate.is_prerelease):
                    rows.append(Row(candidate.version, specifier, alternative.requires_napari, dict(alternative.requires)))
    return rows


def merge_alternatives(alternatives: Iterable[Alternative]) -> tuple[Alternative, ...]:
    """Merge the alternatives of a release (its files or platforms).

    A requirement on another package stays only if all alternatives with the same napari requirement have it. If one
    alternative allows every napari version, the others are ignored.
    """
    given = [one for one in alternatives if one.pythons]
    found: dict[tuple[str, Requires], int] = {}
    for bit in (1 << number for number in range(max((one.pythons for one in given), default=0).bit_length())):
        here: dict[str, set[tuple[str, str]]] = {}
        for one in given:
            if one.pythons & bit:
                here[one.requires_napari] = here.get(one.requires_napari, set(one.requires)) & set(one.requires)
        for requires_napari in ("",) if "" in here else here:
            key = requires_napari, tuple(sorted(here[requires_napari]))
            found[key] = found.get(key, 0) | bit
    return tuple(Alternative(pythons, napari, requires) for (napari, requires), pythons in found.items())


def pypi_compatibility(package: Package, last_minor: int, names: frozenset[str]) -> Compatibility:
    """Return a package's compatibility on PyPI. Requirements on packages outside ``names`` are ignored."""
    texts = {file.requires_python for release in package.releases for file in release.files if file.requires_python}
    markers = {text.partition(";")[2] for release in package.releases for text in release.requires or ()}
    domain = PythonDomain(texts | markers, last_minor)
    found = (make_candidate(release, domain, names - {package.key}) for release in package.releases if not release.is_invalid)
    return Compatibility(domain, tuple(candidate for candidate in found if candidate is not None))


def make_candidate(release: Release, domain: PythonDomain, names: frozenset[str]) -> Candidate | None:
    """Return the release as a candidate, or None if it has no installable file."""
    files = installable_files(release)
    if not files:
        return None
    pythons = 0
    texts: dict[int, str] = {}
    for file in files:
        admitted = domain.admitted(file.requires_python)
        pythons |= admitted & domain.running(file.tags)
        texts.setdefault(admitted, (file.requires_python or "").strip() if is_specifier(file.requires_python or "") else "")
    return Candidate(release.version, is_prerelease(release.version), _alternatives(release, pythons, domain, names), texts)


def installable_files(release: Release) -> list[File]:
    return [file for file in release.files if file.yanked is None]


def yanked_releases(releases: Iterable[Release]) -> dict[str, str]:
    """Return the releases whose files are all yanked, with the first reason given."""
    return {
        release.version: next(filter(None, (file.yanked for file in release.files)), "")
        for release in releases
        if release.files and not installable_files(release)
    }


def _alternatives(release: Release, pythons: int, domain: PythonDomain, names: frozenset[str]) -> tuple[Alternative, ...]:
    requirements = [one for text in release.requires or () if (one := parse_requirement(text)) and one[0] in names]
    if not any(requirement.marker for _, requirement in requirements):
        return (_combine_requirements(pythons, requirements),) if pythons else ()
    return merge_alternatives(
        _combine_requirements(1 << number, [one for one in requirements if _applies(one[1], python, platform)])
        for number, python in enumerate(domain.points)
        if pythons >> number & 1
        for platform in PLATFORMS
    )


def _combine_requirements(pythons: int, requirements: Iterable[tuple[str, Requirement]]) -> Alternative:
    specifiers: dict[str, list[str]] = {}
    for name, requirement in requirements:
        specifiers.setdefault(name, []).append(str(requirement.specifier))
    texts = {name: ",".join(dict.fromkeys(found)) for name, found in sorted(specifiers.items())}
    return Alternative(pythons, texts.pop("napari", ""), tuple(texts.items()))


@lru_cache(maxsize=65536)
def parse_requirement(text: str) -> tuple[str, Requirement] | None:
    """Return the normalized name and the requirement, or None if it is invalid or has no version specifier."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return None
    return (canonicalize_name(requirement.name), requirement) if str(requirement.specifier) else None


def _applies(requirement: Requirement, python: PythonVersion, platform: dict[str, str]) -> bool:
    if requirement.marker is None:
        return True
    environment = CPYTHON | platform | {"python_version": python.feature_release}
    environment |= {"python_full_version": python.full, "implementation_version": python.full}
    try:
        return requirement.marker.evaluate(environment)
    except (UndefinedComparison, UndefinedEnvironmentName, ValueError):  # an invalid marker never applies
        return False


def applies_without_extra(text: str, minors: Iterable[int]) -> bool:
    """Return whether a requirement applies without an extra on some platform and Python version."""
    parsed = parse_requirement(text)
    named = {version for python in named_pythons(text.partition(";")[2]) for version in (python, python.next_patch)}
    pythons = {*map(PythonVersion, minors), *named}
    return parsed is not None and any(_applies(parsed[1], python, platform) for python in pythons for platform in PLATFORMS)
