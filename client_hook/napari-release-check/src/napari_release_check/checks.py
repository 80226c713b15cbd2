"""Compare a release with public facts. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

from packaging.version import InvalidVersion, Version

from napari_release_check.files import ReleaseFile, allows_napari, compatible_minors, napari_requirements
from napari_release_check.public import Public

OLDEST = 8
MAX_LISTED_COMMANDS = 12


@dataclass(frozen=True)
class Finding:
    """``level``: error, warning or notice. ``code``: for programs."""

    level: str
    code: str
    text: str


@dataclass(frozen=True)
class Dropped:
    """A Python that the last release supports and this one does not. None if unknown."""

    python: str
    people: int | None
    downloads: float | None


@dataclass(frozen=True)
class Report:
    """The result. ``compared_with``: the previous version, if known."""

    name: str
    version: str
    pythons: list[str]
    napari: str
    compared_with: str | None
    dropped: list[Dropped] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def has_errors(self) -> bool:
        return any(finding.level == "error" for finding in self.findings)


def newest_python(today: date) -> int:
    """Return the newest minor of CPython 3: a new one each October since 3.9 (PEP 602)."""
    return today.year - 2011 - (today.month < 10)


def check(files: Sequence[ReleaseFile], public: Public, today: date) -> Report:
    """Check the files of one release. ``today`` decides which Pythons are out."""
    newest = newest_python(today)
    minors = range(OLDEST, newest + 1)
    fits = _fits(((file.filename, file.requires_python) for file in files), minors)
    requirements = napari_requirements(files)
    findings = [*_check_files(files), *_of_version(files[0], public), *_of_pythons(files, fits, newest)]
    dropped: list[Dropped] = []
    if public.last is not None:
        before = _fits(public.last.files, minors)
        dropped = [_dropped(minor, public) for minor in sorted(before - fits)]
        findings += _compare_with_last(files, public, dropped)
    if fits and public.newest_napari is not None and not allows_napari(requirements, public.newest_napari, fits):
        findings.append(
            Finding(
                "warning", "excludes-napari",
                f"It can't be installed with napari {public.newest_napari}, the newest. If it works there, raise the bound.",
            )
        )  # fmt: skip
    if public.unknown:
        findings.append(
            Finding("notice", "offline", f"Not everything could be compared. {' '.join(dict.fromkeys(public.unknown))}")
        )
    return Report(
        files[0].name,
        files[0].version,
        [f"3.{minor}" for minor in sorted(fits)],
        "; ".join(dict.fromkeys(str(one.specifier) for one in requirements if str(one.specifier))) or "any",
        str(public.last.version) if public.last else None,
        dropped,
        findings,
    )


def _fits(files: Iterable[tuple[str, str]], minors: Iterable[int]) -> set[int]:
    return {minor for name, requires in files for minor in compatible_minors(name, requires, minors)}


def _check_files(files: Sequence[ReleaseFile]) -> Iterator[Finding]:
    if len({(file.name, file.version) for file in files}) > 1:
        names = ", ".join(sorted({f"{file.name} {file.version}" for file in files}))
        yield Finding(
            "error", "several-releases", f"These files are of several releases: {names}. Pass those of one, or empty dist/."
        )
    if not any(file.filename.endswith(".whl") for file in files):
        yield Finding("notice", "no-wheel", "There is no wheel: napari's index reads manifests from wheels only.")


def _of_version(file: ReleaseFile, public: Public) -> Iterator[Finding]:
    try:
        version = Version(file.version)
    except InvalidVersion:
        yield Finding("error", "version", f"{file.version!r} is not a version that pip accepts.")
        return
    newest = public.last.version if public.last else None
    if version in public.versions:
        yield Finding(
            "error", "published", f"{version} is already on PyPI, where a release can't be replaced. Choose a higher version."
        )
    elif newest is not None and version < newest:
        yield Finding("warning", "not-newer", f"{version} is not newer than {newest}, so it will not be offered as an update.")


def _of_pythons(files: Sequence[ReleaseFile], fits: set[int], newest: int) -> Iterator[Finding]:
    if not fits:
        yield Finding("error", "no-python", f"No Python from 3.{OLDEST} to 3.{newest} can install it.")
        return
    admitted = {
        minor for file in files for minor in compatible_minors("x-1.tar.gz", file.requires_python, range(OLDEST, newest + 2))
    }
    if admitted and newest + 1 not in admitted:
        pythons = ", ".join(f"3.{minor}" for minor in range(max(admitted) + 1, newest + 2))
        yield Finding(
            "warning", "upper-bound",
            f"Requires-Python ({files[0].requires_python}) excludes Python {pythons}: people there get an older "
            "release, even if this one works.",
        )  # fmt: skip
    if missing := sorted(admitted - fits - {newest + 1}):
        pythons = ", ".join(f"3.{minor}" for minor in missing)
        yield Finding(
            "warning", "no-file",
            f"Requires-Python admits Python {pythons}, but there is neither a wheel for it nor a source distribution.",
        )  # fmt: skip


def _compare_with_last(files: Sequence[ReleaseFile], public: Public, dropped: Sequence[Dropped]) -> Iterator[Finding]:
    last = public.last
    assert last is not None
    if dropped:
        pythons = ", ".join(_in_words(one) for one in dropped)
        yield Finding(
            "warning",
            "drops-python",
            f"{last.version} supports Python {pythons}, and this release does not. People there keep {last.version}.",
        )
    commands = [file.commands for file in files if file.commands is not None]
    if last.commands and commands and (gone := sorted(last.commands - frozenset().union(*commands))):
        names = ", ".join(gone[:MAX_LISTED_COMMANDS]) + (
            f" and {len(gone) - MAX_LISTED_COMMANDS} more" if len(gone) > MAX_LISTED_COMMANDS else ""
        )
        yield Finding(
            "warning", "commands",
            f"Commands of {last.version} are gone or renamed: {names}. Shortcuts and scripts that use them stop working.",
        )  # fmt: skip


def _dropped(minor: int, public: Public) -> Dropped:
    python = f"3.{minor}"
    return Dropped(python, public.people.get(python), public.downloads.get(python))


def _in_words(one: Dropped) -> str:
    known = [
        *([f"at least {one.people} people"] if one.people is not None else []),
        *([f"{one.downloads:.0f} % of downloads"] if one.downloads is not None else []),
    ]
    return one.python + (f" ({', '.join(known)})" if known else "")
