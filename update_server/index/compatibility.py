"""Which release can a given Python install?

pip answers this per project while it resolves. The index answers it for all projects at once and for whole classes of Python
versions, so that an update check is one cached body instead of a resolution. The reference is pip: what ``pip install NAME``
takes on that Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct
from napari_update_hook.wire import PackageUpdate
from packaging.version import Version

from update_server.index import napari_needs
from update_server.index.model import File, Package, Release, is_prerelease
from update_server.index.pythons import PythonClasses, requires_python_rules


class Candidate(Struct, frozen=True):
    """A release that may be an answer, of either channel.

    ``fits``: the classes that can install it. ``admits``: those with which it admits the napari that was asked about; all where
    none was. ``requires_python(bit)`` tells in a specifier why the class with that bit can't install it, ``requires_napari``
    which napari it asks for.
    """

    version: str
    is_prerelease: bool
    fits: int
    admits: int
    requires_python: Callable[[int], str | None]
    requires_napari: str = ""


def newest_fitting(candidates: Sequence[Candidate], classes: PythonClasses) -> list[Candidate | None]:
    """Return the newest candidate for each class, in the order of the bits, None where nothing fits.

    ``candidates``: newest first, without withdrawn ones. A pre-release is the answer only where no final release fits (PEP
    440, "Handling of pre-releases").
    """
    answers: list[Candidate | None] = [None] * len(classes.classes)
    open_classes = classes.all
    for wanted in (False, True):
        for candidate in candidates:
            if candidate.is_prerelease is not wanted:
                continue
            found = candidate.fits & candidate.admits & open_classes
            open_classes &= ~found
            while found:
                bit = found.bit_length() - 1
                answers[bit] = candidate
                found ^= 1 << bit
            if not open_classes:
                return answers
    return answers


def updates_of(
    candidates: Sequence[Candidate],
    classes: PythonClasses,
    *,
    yanked: dict[str, str],
    vulnerabilities: dict[str, list[str]],
    conda_name: str | None = None,
) -> list[PackageUpdate]:
    """Return what to say about one package, for each class in the order of the bits."""
    newest = next((candidate for candidate in candidates if not candidate.is_prerelease), next(iter(candidates), None))
    place = {candidate.version: position for position, candidate in enumerate(candidates)}
    shared: dict[tuple[str | None, str | None, str | None], PackageUpdate] = {}
    answers = []
    for bit, latest in enumerate(newest_fitting(candidates, classes)):
        version = latest.version if latest else None
        is_newer = newest is not None and (latest is None or place[newest.version] < place[latest.version])
        of_python = of_napari = None
        if newest is not None and is_newer:
            if newest.fits >> bit & 1:
                of_napari = newest.requires_napari
            else:
                of_python = newest.requires_python(bit)
        if (version, of_python, of_napari) not in shared:
            shared[version, of_python, of_napari] = PackageUpdate(
                latest=version,
                newest=newest.version if newest is not None and is_newer else None,
                newest_requires_python=of_python,
                newest_requires_napari=of_napari,
                conda_name=conda_name,
                yanked=yanked,
                vulnerabilities=vulnerabilities,
            )
        answers.append(shared[version, of_python, of_napari])
    return answers


def pypi_classes(packages: Iterable[Package], minors: Iterable[int]) -> PythonClasses:
    """Return the classes of Python that the files on PyPI tell apart."""
    files = (file for package in packages for release in package.releases for file in release.files)
    return PythonClasses(requires_python_rules(file.requires_python for file in files if file.requires_python), minors)


def pypi_updates(package: Package, classes: PythonClasses, napari: Version | None = None) -> list[PackageUpdate]:
    """Return the answers for one package on PyPI, for each class in the order of the bits.

    ``napari``: the version that a release must admit to be an answer; None where that is not asked.
    """
    return updates_of(
        pypi_candidates(package, classes, napari),
        classes,
        yanked=_yanked(package.releases),
        vulnerabilities={version: list(ids) for version, ids in package.vulnerabilities.items()},
    )


def pypi_candidates(package: Package, classes: PythonClasses, napari: Version | None = None) -> list[Candidate]:
    """Return the releases that may be an answer, the newest first: those with a file that is not yanked."""
    asked = napari if package.key != "napari" else None  # napari asks nothing of itself
    return [candidate_of(release, classes, asked) for release in package.releases if any(_may_be_taken(release.files))]


def candidate_of(release: Release, classes: PythonClasses, napari: Version | None = None) -> Candidate:
    """Return a release with the classes that can install one of its files, and those with which it admits ``napari``."""
    files = tuple(_may_be_taken(release.files))
    fits = 0
    for file in files:
        fits |= classes.admitted_by(file.requires_python or None) & classes.running(file.tags)
    return Candidate(
        release.version,
        is_prerelease(release.version),
        fits,
        classes.all if napari is None else napari_needs.admitted(release.needs_napari, napari, classes),
        lambda bit: _requirement(files, fits, classes, bit),
        napari_needs.in_words(release.needs_napari),
    )


def _may_be_taken(files: Iterable[File]) -> Iterable[File]:
    return (file for file in files if file.yanked is None)


def _yanked(releases: Iterable[Release]) -> dict[str, str]:
    """The releases of which every file is yanked, with the first reason given."""
    return {
        release.version: next(filter(None, (file.yanked for file in release.files)), "")
        for release in releases
        if release.files and not any(_may_be_taken(release.files))
    }


def _requirement(files: tuple[File, ...], fits: int, classes: PythonClasses, bit: int) -> str:
    """What a release asks of Python, as a specifier: its Requires-Python, or where that admits the class, its wheels."""
    if not any(classes.admitted_by(file.requires_python or None) >> bit & 1 for file in files):
        return " or ".join(sorted({file.requires_python for file in files if file.requires_python}))
    return classes.in_words(fits)
