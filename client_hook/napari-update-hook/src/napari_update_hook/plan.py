"""Find updates that work together, checking the requirements of all installed distributions like ``pip check``. Pure.

Try each compatible napari release, from the newest down to the installed one, with the newest compatible row of each
package. On a violated requirement, revert the requirer if it is an update, else the required package; if neither is, try
the next napari release. Then retry reverted updates one at a time. Names are sorted, so the result is deterministic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.table import Release, TablePackage, admits, choose, pick
from napari_update_hook.versions import is_newer, parsed, same_version

NAPARI = "napari"

_Keys = frozenset[tuple[str, str, str]]


@dataclass(frozen=True)
class PlannedUpdate:
    name: str
    installed: str
    target: str


@dataclass(frozen=True)
class HeldBack:
    """An update that the plan leaves out. ``by``: what blocks it: packages or Python."""

    name: str
    newest: str
    by: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Violation:
    """An unmet requirement."""

    requirer: str
    required: str
    specifier: str
    found: str | None

    @property
    def key(self) -> tuple[str, str, str]:
        return self.requirer, self.required, self.specifier

    def text(self, state: str = "is installed") -> str:
        there = f"{self.required} {self.found} {state}" if self.found else "it is not installed"
        return f"{self.requirer} needs {self.required} {self.specifier}".rstrip() + f"; {there}"

    def __str__(self) -> str:
        return self.text()


@dataclass(frozen=True)
class Plan:
    """Updates that work together.

    ``napari``, ``pins``: versions after the updates; pins by normalized name. ``broken_before``: violations that already
    exist.
    """

    napari: str | None
    updates: tuple[PlannedUpdate, ...] = ()
    held_back: tuple[HeldBack, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)
    broken_before: tuple[Violation, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The effect of a napari release on a package. ``answer``: fine, update to …, no release yet, or excludes it."""

    name: str
    installed: str
    answer: str
    reason: str = ""


@dataclass(frozen=True)
class _Candidate:
    """A set of updates to test. ``rows``: the updates, by normalized name."""

    environment: Environment
    rows: Mapping[str, Release]

    def version(self, name: str) -> str | None:
        if (row := self.rows.get(name)) is not None:
            return row.version
        if name == NAPARI:
            return self.environment.napari  # for a development version, its base version
        found = self.environment.distributions.get(name)
        return found.version if found is not None else None

    def violations(self) -> list[Violation]:
        found = []
        for name, distribution in sorted(self.environment.distributions.items()):
            for required, specifier in sorted(self._requirements(name, distribution)):
                version = self.version(required)
                if version is None or not admits(specifier, version):
                    found.append(Violation(name, required, specifier, version))
        return found

    def new_violations(self, baseline: _Keys) -> list[Violation]:
        return [one for one in self.violations() if one.key not in baseline]

    def _requirements(self, name: str, distribution: Distribution) -> Iterable[tuple[str, str]]:
        row = self.rows.get(name)
        if row is None:
            return requirements_of(distribution.requires, self.environment.python)
        needs = {**row.requires, **({NAPARI: row.requires_napari} if row.requires_napari else {})}
        return ((other, specifier) for other, specifier in needs.items() if self.version(other) is not None)


@lru_cache(maxsize=4096)
def requirements_of(lines: tuple[str, ...], python: str) -> tuple[tuple[str, str], ...]:
    """Return the (normalized name, specifier) pairs of the Requires-Dist lines that apply without extras."""
    markers = {"extra": "", "python_version": ".".join(python.split(".")[:2]), "python_full_version": python}
    found = []
    for line in lines:
        try:
            requirement = Requirement(line)
            holds = requirement.marker is None or requirement.marker.evaluate(markers)
        except (InvalidRequirement, UndefinedComparison, UndefinedEnvironmentName, ValueError):  # pip cannot read it either
            continue
        if holds:
            found.append((str(canonicalize_name(requirement.name)), str(requirement.specifier)))
    return tuple(found)


def violations_of(environment: Environment) -> tuple[Violation, ...]:
    return tuple(_Candidate(environment, {}).violations())


def make_plan(
    packages: Mapping[str, TablePackage],
    environment: Environment,
    *,
    napari: str | None = None,
    keep_napari: bool = False,
    only: Iterable[str] = (),
    without: Mapping[str, str] | None = None,
) -> Plan:
    """Return the updates that work together.

    ``napari``: plan for this version from the table, or for the installed one if that would break something.
    ``keep_napari``: plan for the installed napari, as always if it is a development version. ``only``: names to update;
    empty for all. ``without``: reasons by name of updates to leave out.
    """
    wanted = {str(canonicalize_name(name)) for name in only}
    left_out = dict(without or {})
    replaceable = {name for name, one in environment.distributions.items() if one.is_replaceable}
    here = {name: package for name, package in packages.items() if name in replaceable}
    offered = {name: here[name] for name in sorted(here) if name not in left_out and (not wanted or name in wanted)}
    broken = violations_of(environment)
    baseline = frozenset(one.key for one in broken)
    is_kept = keep_napari or NAPARI not in offered or environment.development_napari is not None
    candidates = [None] if is_kept and (napari is None or NAPARI not in here) else _candidates(packages, environment, napari)
    blocked: dict[str, list[Violation]] = {}
    rows: dict[str, Release] = {}
    for candidate in candidates:
        settled = _resolve(offered, environment, candidate, baseline)
        if not isinstance(settled, list):
            rows = settled
            break
        if candidate is not None:
            blocked[candidate.version] = settled
    after = _Candidate(environment, rows)
    distributions = environment.distributions
    updates = tuple(
        PlannedUpdate(distributions[name].name, distributions[name].version, rows[name].version) for name in sorted(rows)
    )
    return Plan(
        napari=after.version(NAPARI),
        updates=tuple(sorted(updates, key=lambda one: (one.name != NAPARI, one.name.lower()))),
        held_back=tuple(_held_back(here, after, blocked, baseline, left_out, wanted, is_kept)),
        # always pin napari, even if it is not in the index: a resolver may replace packages that are not named
        pins={
            name: version
            for name in sorted(here | ({NAPARI: None} if NAPARI in replaceable else {}))
            if (version := after.version(name)) is not None
        },
        broken_before=broken,
        notes=tuple(_notes(offered, environment, rows, baseline)),
    )


def napari_impact(packages: Mapping[str, TablePackage], environment: Environment, napari: str) -> tuple[Verdict, ...]:
    found = []
    for name, distribution in sorted(environment.distributions.items()):
        if name == NAPARI:
            continue
        lines = requirements_of(distribution.requires, environment.python)
        needs = [specifier for required, specifier in lines if required == NAPARI]
        if all(admits(specifier, napari) for specifier in needs):
            if name in packages or distribution.is_plugin:
                found.append(Verdict(distribution.name, distribution.version, "fine"))
            continue
        row = pick(packages[name].releases, environment.python, napari) if name in packages else None
        reason = f"{distribution.version} needs napari {', '.join(needs)}"
        if row is not None and is_newer(row.version, distribution.version) and distribution.is_replaceable:
            found.append(Verdict(distribution.name, distribution.version, f"update to {row.version}", reason))
        else:
            answer = "no release yet" if name in packages else "excludes it"
            found.append(Verdict(distribution.name, distribution.version, answer, reason))
    return tuple(found)


def newest_napari(packages: Mapping[str, TablePackage], environment: Environment) -> str | None:
    """Return the newest napari version for this Python, or None if it is not newer than the installed one."""
    row = _candidates(packages, environment, None)[0] if NAPARI in environment.distributions else None
    return row.version if row is not None else None


def _candidates(packages: Mapping[str, TablePackage], environment: Environment, wanted: str | None) -> Sequence[Release | None]:
    """Return the napari rows to try, newest first, then None for the installed version."""
    installed = environment.distributions[NAPARI].version if NAPARI in environment.distributions else None
    rows = packages[NAPARI].releases if NAPARI in packages else ()
    fitting = [row for row in rows if admits(row.requires_python, environment.python)]
    if wanted is not None:
        return [*(row for row in fitting if same_version(row.version, wanted)), None]
    newer = {version: row for row in fitting if is_newer(row.version, installed) and (version := parsed(row.version))}
    return [*(newer[version] for version in sorted(newer, reverse=True) if not version.is_prerelease), None]


def _resolve(
    offered: Mapping[str, TablePackage], environment: Environment, candidate: Release | None, baseline: _Keys
) -> dict[str, Release] | list[Violation]:
    """Return the rows that work with a napari release (None: the installed one), or the violations that remain."""
    rows = _newest_rows(offered, environment, candidate)
    reverted: dict[str, Release] = {}
    while new := _Candidate(environment, rows).new_violations(baseline):
        hopeless = []
        for violation in new:
            culprit = next((name for name in (violation.requirer, violation.required) if name in rows and name != NAPARI), None)
            if culprit is not None:
                reverted[culprit] = rows.pop(culprit)
                break
            hopeless.append(violation)
        else:
            return hopeless
    changed = True
    while changed:
        changed = False
        for name in sorted(set(reverted) - set(rows)):
            tried = {**rows, name: reverted[name]}
            if not _Candidate(environment, tried).new_violations(baseline):
                rows, changed = tried, True
    return rows


def _newest_rows(
    offered: Mapping[str, TablePackage], environment: Environment, candidate: Release | None
) -> dict[str, Release]:
    napari = candidate.version if candidate is not None else environment.napari
    rows = {}
    for name, package in offered.items():
        row = candidate if name == NAPARI else pick(package.releases, environment.python, napari)
        if row is not None and is_newer(row.version, environment.distributions[name].version):
            rows[name] = row
    if candidate is not None and NAPARI in environment.distributions:
        rows[NAPARI] = candidate  # may be older than the installed one, if requested
    return rows


def _held_back(
    here: Mapping[str, TablePackage],
    after: _Candidate,
    blocked: Mapping[str, list[Violation]],
    baseline: _Keys,
    left_out: Mapping[str, str],
    wanted: set[str],
    is_kept: bool,
) -> Iterable[HeldBack]:
    environment = after.environment
    for name in sorted(here, key=lambda one: (one != NAPARI, one)):
        if wanted and name not in wanted:
            continue
        distribution, version = environment.distributions[name], after.version(name)
        row = pick(here[name].releases, environment.python, after.version(NAPARI) if name != NAPARI else None)
        choice = choose(here[name], environment.python, after.version(NAPARI) if name != NAPARI else None)
        best = row.version if row is not None else None
        if name == NAPARI and blocked:
            newest = next(iter(blocked))
            yield HeldBack(NAPARI, newest, *_blockers(NAPARI, newest, blocked[newest], environment))
        elif is_newer(best, version):
            assert row is not None
            if name in left_out:
                yield HeldBack(distribution.name, row.version, (), left_out[name])
            elif name == NAPARI and is_kept:
                yield HeldBack(NAPARI, row.version, (), f"{row.version} is available; this plan keeps napari {version}")
            else:
                new = _Candidate(environment, {**after.rows, name: row}).new_violations(baseline)
                blockers = _blockers(name, row.version, new, environment) if new else ((), f"this plan is for {name} {version}")
                yield HeldBack(distribution.name, row.version, *blockers)
        elif is_newer(choice.newest, version) and choice.newest is not None:
            if choice.newest_requires_python:
                needs, by = f"Python {choice.newest_requires_python}; this is {environment.python_minor}", "Python"
            elif choice.newest_requires_napari:
                needs, by = f"napari {choice.newest_requires_napari}", NAPARI
            else:
                needs, by = f"another Python version; this is {environment.python_minor}", "Python"
            yield HeldBack(distribution.name, choice.newest, (by,), f"{choice.newest} needs {needs}")


def _blockers(name: str, version: str, new: list[Violation], environment: Environment) -> tuple[tuple[str, ...], str]:
    """Return the blocking packages and the reason."""
    requirers = [one for one in new if one.required == name and one.requirer != name]
    if requirers:
        told = [f"{environment.distributions[one.requirer].name} (needs {name} {one.specifier})" for one in requirers]
        return tuple(
            dict.fromkeys(one.requirer for one in requirers)
        ), f"{version} would break {', '.join(dict.fromkeys(told))}"
    needs = [one for one in new if one.requirer == name] or new
    told = [f"{one.required} {one.specifier}" + (f"; {one.found} is installed" if one.found else "") for one in needs]
    return tuple(dict.fromkeys(one.required for one in needs)), f"{version} needs {', '.join(told)}"


def _notes(
    offered: Mapping[str, TablePackage], environment: Environment, rows: Mapping[str, Release], baseline: _Keys
) -> Iterable[str]:
    """Return notes on plugins that could be newer with the installed napari."""
    if NAPARI not in rows:
        return
    kept = _resolve({name: package for name, package in offered.items() if name != NAPARI}, environment, None, baseline)
    for name, row in sorted(kept.items()) if isinstance(kept, dict) else ():
        planned = rows[name].version if name in rows else environment.distributions[name].version
        if is_newer(row.version, planned):
            yield (
                f"With napari {rows[NAPARI].version}, {name} stays at {planned}. "
                f"With the installed napari it could be {row.version} (--keep-napari)."
            )
