"""Which updates work together?

Advice that is right for each package by itself can break the environment: napari 0.8 fits your Python, and three of your
plugins exclude it. The plan looks at all installed distributions at once, as ``pip check`` does. Pure.

The rule: for each napari from the newest that fits down to the installed one, offer each package its row of the table if that
is newer. On a violated requirement, revert the package that requires if it is an update, else the one that is required; if
neither is one, try the next napari. Then retry what was reverted, one at a time, until nothing more fits. In order of names,
so the result depends only on what is installed and on the table.
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
    """An update that goes with the others. ``name``: as installed."""

    name: str
    installed: str
    target: str


@dataclass(frozen=True)
class HeldBack:
    """A newer release that is not part of the plan. ``by``: names of what holds it back; ``reason``: a sentence for people."""

    name: str
    newest: str
    by: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Violation:
    """An installed distribution whose requirement is not met. ``found``: the version that is there, None for none."""

    requirer: str
    required: str
    specifier: str
    found: str | None

    @property
    def key(self) -> tuple[str, str, str]:
        """The requirement, without the version that is found."""
        return self.requirer, self.required, self.specifier

    def text(self, state: str = "is installed") -> str:
        """Return it in words. ``state``: what is said of the version that is found."""
        there = f"{self.required} {self.found} {state}" if self.found else "it is not installed"
        return f"{self.requirer} needs {self.required} {self.specifier}".rstrip() + f"; {there}"

    def __str__(self) -> str:
        return self.text()


@dataclass(frozen=True)
class Plan:
    """What to update together.

    ``napari``: the version after the plan. ``pins``: the version after the plan of every package of the index that a command
    names, by normalized name. ``broken_before``: requirements that are violated already. ``notes``: sentences for people.
    """

    napari: str | None
    updates: tuple[PlannedUpdate, ...] = ()
    held_back: tuple[HeldBack, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)
    broken_before: tuple[Violation, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What another napari would mean for an installed plugin. ``answer``: fine, update, "no release yet" or excludes it."""

    name: str
    installed: str
    answer: str
    reason: str = ""


@dataclass(frozen=True)
class _State:
    """Versions of everything, with the rows of what is updated; both by normalized name."""

    environment: Environment
    rows: Mapping[str, Release]

    def version(self, name: str) -> str | None:
        if (row := self.rows.get(name)) is not None:
            return row.version
        if name == NAPARI:
            return self.environment.napari  # of a development version, its base
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
        """Those that were not there before."""
        return [one for one in self.violations() if one.key not in baseline]

    def _requirements(self, name: str, distribution: Distribution) -> Iterable[tuple[str, str]]:
        row = self.rows.get(name)
        if row is None:
            return requirements_of(distribution.requires, self.environment.python)
        needs = {**row.requires, **({NAPARI: row.requires_napari} if row.requires_napari else {})}
        return ((other, specifier) for other, specifier in needs.items() if self.version(other) is not None)


@lru_cache(maxsize=4096)
def requirements_of(lines: tuple[str, ...], python: str) -> tuple[tuple[str, str], ...]:
    """Return (normalized name, specifier) of the Requires-Dist lines that hold here, extras left out."""
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
    """Return the requirements that installed distributions have and that are not met, as ``pip check`` does."""
    return tuple(_State(environment, {}).violations())


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

    ``packages`` of the table, by normalized name. ``napari``: plan for this one, which the table must have, instead of the
    newest that fits; where it would break something, the plan is for the installed one.
    ``keep_napari``: plan for the installed one. ``only``: names to update, the rest stays. ``without``: names to leave out,
    each with the reason. A development version of napari is always kept.
    """
    wanted = {str(canonicalize_name(name)) for name in only}
    left_out = dict(without or {})
    replaceable = {name for name, one in environment.distributions.items() if one.is_replaceable}
    here = {name: package for name, package in packages.items() if name in replaceable}
    offered = {name: here[name] for name in sorted(here) if name not in left_out and (not wanted or name in wanted)}
    broken = violations_of(environment)
    baseline = frozenset(one.key for one in broken)
    is_kept = keep_napari or NAPARI not in offered or environment.development_napari is not None
    candidates = [None] if is_kept and (napari is None or NAPARI not in here) else _naparis(packages, environment, napari)
    blocked: dict[str, list[Violation]] = {}
    rows: dict[str, Release] = {}
    for candidate in candidates:
        settled = _settle(offered, environment, candidate, baseline)
        if not isinstance(settled, list):
            rows = settled
            break
        if candidate is not None:
            blocked[candidate.version] = settled
    after = _State(environment, rows)
    distributions = environment.distributions
    updates = tuple(
        PlannedUpdate(distributions[name].name, distributions[name].version, rows[name].version) for name in sorted(rows)
    )
    return Plan(
        napari=after.version(NAPARI),
        updates=tuple(sorted(updates, key=lambda one: (one.name != NAPARI, one.name.lower()))),
        held_back=tuple(_held_back(here, after, blocked, baseline, left_out, wanted, is_kept)),
        # napari is always named, also where the index does not list it: a resolver may replace what is not
        pins={
            name: version
            for name in sorted(here | ({NAPARI: None} if NAPARI in replaceable else {}))
            if (version := after.version(name)) is not None
        },
        broken_before=broken,
        notes=tuple(_notes(offered, environment, rows, baseline)),
    )


def what_breaks(packages: Mapping[str, TablePackage], environment: Environment, napari: str) -> tuple[Verdict, ...]:
    """Return for each installed plugin what ``napari`` (a version) would mean, by name."""
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
    """Return the newest napari that fits this Python, if it is newer than the installed one."""
    row = _naparis(packages, environment, None)[0] if NAPARI in environment.distributions else None
    return row.version if row is not None else None


def _naparis(packages: Mapping[str, TablePackage], environment: Environment, wanted: str | None) -> Sequence[Release | None]:
    """The naparis to try: rows of the table, newest first, then the installed one (None)."""
    installed = environment.distributions[NAPARI].version if NAPARI in environment.distributions else None
    rows = packages[NAPARI].releases if NAPARI in packages else ()
    fitting = [row for row in rows if admits(row.requires_python, environment.python)]
    if wanted is not None:
        return [*(row for row in fitting if same_version(row.version, wanted)), None]
    newer = {version: row for row in fitting if is_newer(row.version, installed) and (version := parsed(row.version))}
    return [*(newer[version] for version in sorted(newer, reverse=True) if not version.is_prerelease), None]


def _settle(
    offered: Mapping[str, TablePackage], environment: Environment, candidate: Release | None, baseline: _Keys
) -> dict[str, Release] | list[Violation]:
    """Return the rows that work together with one napari (None: the installed one), or what makes it impossible."""
    rows = _offers(offered, environment, candidate)
    reverted: dict[str, Release] = {}
    while new := _State(environment, rows).new_violations(baseline):
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
            if not _State(environment, tried).new_violations(baseline):
                rows, changed = tried, True
    return rows


def _offers(offered: Mapping[str, TablePackage], environment: Environment, candidate: Release | None) -> dict[str, Release]:
    napari = candidate.version if candidate is not None else environment.napari
    rows = {}
    for name, package in offered.items():
        row = candidate if name == NAPARI else pick(package.releases, environment.python, napari)
        if row is not None and is_newer(row.version, environment.distributions[name].version):
            rows[name] = row
    if candidate is not None and NAPARI in environment.distributions:
        rows[NAPARI] = candidate  # also an older one, where a person asks for it
    return rows


def _held_back(
    here: Mapping[str, TablePackage],
    after: _State,
    blocked: Mapping[str, list[Violation]],
    baseline: _Keys,
    left_out: Mapping[str, str],
    wanted: set[str],
    is_kept: bool,
) -> Iterable[HeldBack]:
    """Say of each newer release why it is not part of the plan."""
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
            yield HeldBack(NAPARI, newest, *_broken(NAPARI, newest, blocked[newest], environment))
        elif is_newer(best, version):
            assert row is not None
            if name in left_out:
                yield HeldBack(distribution.name, row.version, (), left_out[name])
            elif name == NAPARI and is_kept:
                yield HeldBack(NAPARI, row.version, (), f"{row.version} is out; this plan keeps napari {version}")
            else:
                new = _State(environment, {**after.rows, name: row}).new_violations(baseline)
                yield HeldBack(distribution.name, row.version, *_broken(name, row.version, new, environment))
        elif is_newer(choice.newest, version) and choice.newest is not None:
            if choice.newest_requires_python:
                needs, by = f"Python {choice.newest_requires_python}; this is {environment.python_minor}", "Python"
            elif choice.newest_requires_napari:
                needs, by = f"napari {choice.newest_requires_napari}", NAPARI
            else:
                needs, by = f"another Python; this is {environment.python_minor}", "Python"
            yield HeldBack(distribution.name, choice.newest, (by,), f"{choice.newest} needs {needs}")


def _broken(name: str, version: str, new: list[Violation], environment: Environment) -> tuple[tuple[str, ...], str]:
    """Who holds a release back, and that in a sentence: ``0.8.0 would break axondeepseg (needs napari <0.7)``."""
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
    """Say where the newest napari costs a newer plugin."""
    if NAPARI not in rows:
        return
    kept = _settle({name: package for name, package in offered.items() if name != NAPARI}, environment, None, baseline)
    for name, row in sorted(kept.items()) if isinstance(kept, dict) else ():
        planned = rows[name].version if name in rows else environment.distributions[name].version
        if is_newer(row.version, planned):
            yield (
                f"With napari {rows[NAPARI].version}, {name} stays at {planned}. "
                f"With the napari that is installed it could be {row.version} (--keep-napari)."
            )
