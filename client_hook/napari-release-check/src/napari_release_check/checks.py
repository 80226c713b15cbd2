"""Compare a release with public data. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

from packaging.version import InvalidVersion, Version

from napari_release_check.files import ReleaseFile, allows_napari, compatible_minors, napari_requirements
from napari_release_check.public import PublicData

OLDEST = 8
MAX_LISTED_COMMANDS = 12


@dataclass(frozen=True)
class Finding:
    """A result of a check. ``level``: error, warning or notice. ``code``: identifier for programs."""

    level: str
    code: str
    text: str


@dataclass(frozen=True)
class DroppedPython:
    """A Python version that the last release supports and this release does not.

    ``people``, ``downloads``: None if unknown.
    """

    python: str
    people: int | None
    downloads: float | None


@dataclass(frozen=True)
class Report:
    """The result of all checks. ``compared_with``: the previous version, if known."""

    name: str
    version: str
    pythons: list[str]
    napari: str
    compared_with: str | None
    dropped: list[DroppedPython] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def has_errors(self) -> bool:
        return any(finding.level == "error" for finding in self.findings)


def newest_python(today: date) -> int:
    """Return the newest minor version of CPython 3. Since 3.9, one is released each October (PEP 602)."""
    return today.year - 2011 - (today.month < 10)


def check(files: Sequence[ReleaseFile], public: PublicData, today: date) -> Report:
    """Check the files of one release. ``today`` determines which Python versions are released."""
    newest = newest_python(today)
    minors = range(OLDEST, newest + 1)
    supported = _supported_minors(((file.filename, file.requires_python) for file in files), minors)
    requirements = napari_requirements(files)
    findings = [*_check_files(files), *_check_version(files[0], public), *_check_pythons(files, supported, newest)]
    dropped: list[DroppedPython] = []
    if public.last is not None:
        before = _supported_minors(public.last.files, minors)
        dropped = [_dropped_python(minor, public) for minor in sorted(before - supported)]
        findings += _compare_with_last(files, public, dropped)
    if supported and public.newest_napari is not None and not allows_napari(requirements, public.newest_napari, supported):
        findings.append(
            Finding(
                "warning", "excludes-napari",
                f"It excludes napari {public.newest_napari}, the newest. If it works there, raise the upper bound.",
            )
        )  # fmt: skip
    if public.unknown:
        findings.append(
            Finding("notice", "offline", f"Some comparisons were not possible. {' '.join(dict.fromkeys(public.unknown))}")
        )
    return Report(
        files[0].name,
        files[0].version,
        [f"3.{minor}" for minor in sorted(supported)],
        "; ".join(dict.fromkeys(str(one.specifier) for one in requirements if str(one.specifier))) or "any",
        str(public.last.version) if public.last else None,
        dropped,
        findings,
    )


def _supported_minors(files: Iterable[tuple[str, str]], minors: Iterable[int]) -> set[int]:
    return {minor for name, requires in files for minor in compatible_minors(name, requires, minors)}


def _check_files(files: Sequence[ReleaseFile]) -> Iterator[Finding]:
    if len({(file.name, file.version) for file in files}) > 1:
        names = ", ".join(sorted({f"{file.name} {file.version}" for file in files}))
        yield Finding(
            "error", "several-releases", f"The files are from several releases: {names}. Pass those of one, or empty dist/."
        )
    if not any(file.filename.endswith(".whl") for file in files):
        yield Finding("notice", "no-wheel", "There is no wheel: napari's index reads manifests only from wheels.")


def _check_version(file: ReleaseFile, public: PublicData) -> Iterator[Finding]:
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


def _check_pythons(files: Sequence[ReleaseFile], supported: set[int], newest: int) -> Iterator[Finding]:
    if not supported:
        yield Finding("error", "no-python", f"No Python version from 3.{OLDEST} to 3.{newest} can install this release.")
        return
    allowed = {
        minor for file in files for minor in compatible_minors("x-1.tar.gz", file.requires_python, range(OLDEST, newest + 2))
    }
    if allowed and newest + 1 not in allowed:
        pythons = ", ".join(f"3.{minor}" for minor in range(max(allowed) + 1, newest + 2))
        yield Finding(
            "warning", "upper-bound",
            f"Requires-Python ({files[0].requires_python}) excludes Python {pythons}: users there get an older "
            "release, even if this one works.",
        )  # fmt: skip
    if missing := sorted(allowed - supported - {newest + 1}):
        pythons = ", ".join(f"3.{minor}" for minor in missing)
        yield Finding(
            "warning", "no-file",
            f"Requires-Python allows Python {pythons}, but there is no compatible wheel and no source distribution.",
        )  # fmt: skip


def _compare_with_last(files: Sequence[ReleaseFile], public: PublicData, dropped: Sequence[DroppedPython]) -> Iterator[Finding]:
    last = public.last
    assert last is not None
    if dropped:
        pythons = ", ".join(_describe_type(one) for one in dropped)
        yield Finding(
            "warning",
            "drops-python",
            f"{last.version} supports Python {pythons}, and this release does not. Users there stay on {last.version}.",
        )
    commands = [file.commands for file in files if file.commands is not None]
    if last.commands and commands and (gone := sorted(last.commands - frozenset().union(*commands))):
        names = ", ".join(gone[:MAX_LISTED_COMMANDS]) + (
            f" and {len(gone) - MAX_LISTED_COMMANDS} more" if len(gone) > MAX_LISTED_COMMANDS else ""
        )
        yield Finding(
            "warning", "commands",
            f"Commands of {last.version} were removed or renamed: {names}. Shortcuts and scripts that use them break.",
        )  # fmt: skip


def _dropped_python(minor: int, public: PublicData) -> DroppedPython:
    python = f"3.{minor}"
    return DroppedPython(python, public.people.get(python), public.downloads.get(python))


def _describe_type(one: DroppedPython) -> str:
    known = [
        *([f"at least {one.people} people"] if one.people is not None else []),
        *([f"{one.downloads:.0f} % of downloads"] if one.downloads is not None else []),
    ]
    return one.python + (f" ({', '.join(known)})" if known else "")
