"""Compare the index with the installed packages. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import quote

from packaging.utils import canonicalize_name

from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.plan import NAPARI, HeldBack, Plan, make_plan
from napari_update_hook.state import Snooze
from napari_update_hook.table import TablePackage, admits, choose
from napari_update_hook.versions import is_newer, same_version

T = TypeVar("T")
OWN_PACKAGES = (NAPARI, "napari-update-hook", "napari-telemetry")


class Status(str, Enum):
    UPDATE = "update"
    HELD_BACK = "held back"
    SNOOZED = "snoozed"
    UP_TO_DATE = "up to date"
    AHEAD = "ahead"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class UpdateRow:
    """An installed package and its update.

    ``latest``: the newest compatible version. ``target``: the version that the plan installs. ``newest``: the newest
    version of all. ``withdrawn``: why the installed release was withdrawn; may be empty. ``vulnerabilities``: advisory
    IDs. ``release_page``: URL for the target, else for the newest version.
    """

    name: str
    installed: str
    latest: str | None
    target: str | None
    newest: str | None
    status: Status
    note: str = ""
    withdrawn: str | None = None
    vulnerabilities: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    snoozed_until: datetime | None = None
    release_page: str | None = None
    changelog: str | None = None

    @property
    def needs_attention(self) -> bool:
        """Whether there is an update or the installed release is unsafe, even if its update is snoozed."""
        return self.status is Status.UPDATE or self.is_unsafe

    @property
    def is_unsafe(self) -> bool:
        return self.withdrawn is not None or bool(self.vulnerabilities or self.warnings)


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`. ``rows``: napari first. ``unlisted``: installed plugins that are not in the index."""

    rows: tuple[UpdateRow, ...]
    plan: Plan
    unlisted: tuple[str, ...] = field(default=())


def compare(
    packages: Mapping[str, TablePackage],
    environment: Environment,
    *,
    now: datetime,
    snoozes: Sequence[Snooze] = (),
    has_requirements: bool = True,
    keep_napari: bool = False,
) -> Comparison:
    """Compare the index with the installed packages. ``has_requirements``: whether the index gives requirements."""
    plan, snoozed = plan_without_snoozed(packages, environment, now, snoozes, keep_napari=keep_napari)
    held = {one.name: one for one in plan.held_back}
    targets = {one.name: one.target for one in plan.updates}
    rows = [
        _row(packages[name], distribution, environment, targets.get(distribution.name), held.get(distribution.name),
             snoozed.get(name), has_requirements, now)
        for name, distribution in environment.distributions.items()
        if name in packages
    ]  # fmt: skip
    listed = {*packages, *OWN_PACKAGES}
    unlisted = sorted(one.name for name, one in environment.distributions.items() if one.is_plugin and name not in listed)
    return Comparison(tuple(sorted(rows, key=lambda row: (row.name != NAPARI, row.name.lower()))), plan, tuple(unlisted))


def plan_without_snoozed(
    packages: Mapping[str, TablePackage], environment: Environment, now: datetime, snoozes: Sequence[Snooze], **options: Any
) -> tuple[Plan, dict[str, Snooze]]:
    """Repeat the plan until it has no snoozed update: leaving out an update may change others.

    Return the plan, and the snoozes that were applied by normalized name.
    """
    names = {one.name: name for name, one in environment.distributions.items()}
    snoozed: dict[str, Snooze] = {}
    while True:
        without = {name: snooze_text(one) for name, one in snoozed.items()}
        plan = make_plan(packages, environment, without=without, **options)
        found = {
            names[update.name]: one
            for update in plan.updates
            for one in snoozes
            if one.covers(names[update.name], update.target, now)
        }
        if not found:
            return plan, snoozed
        snoozed |= found


def snooze_text(snooze: Snooze) -> str:
    return f"snoozed until {snooze.until:%Y-%m-%d}" if snooze.until else "ignored"


def _row(
    package: TablePackage,
    distribution: Distribution,
    environment: Environment,
    target: str | None,
    held: HeldBack | None,
    snooze: Snooze | None,
    has_requirements: bool,
    now: datetime,
) -> UpdateRow:
    napari = None if distribution.name == NAPARI else environment.napari
    choice, installed = choose(package, environment.python, napari), distribution.version
    newest = choice.newest or choice.latest
    withdrawn = _lookup(package.yanked, installed) if not distribution.is_local else None
    vulnerabilities = tuple(_lookup(package.vulnerabilities, installed) or ())
    current = (
        [] if distribution.is_local else [one for one in package.notices if not one.until or one.until >= f"{now:%Y-%m-%d}"]
    )
    notices = [one for one in current if admits(one.specifier, installed)]
    warnings = tuple(one.text for one in notices if one.severity == "warning")
    if snooze is not None:
        status = Status.SNOOZED
    elif target is not None:
        status = Status.UPDATE
    elif newest is None:
        status = Status.UNKNOWN
    elif is_newer(choice.latest, installed):
        status = Status.HELD_BACK
    else:
        status = Status.AHEAD if is_newer(installed, newest) else Status.UP_TO_DATE
    notes: list[str] = []
    if withdrawn is not None:
        notes.append(f"{installed} was withdrawn by its authors" + (f": {withdrawn}" if withdrawn else ""))
    if vulnerabilities:
        notes.append(f"{installed} has a known vulnerability: {', '.join(vulnerabilities)}")
    notes += [f"{one.text} {one.link}".strip() for one in notices]
    notes += [
        f"about {target}: {one.text} {one.link}".strip()
        for one in current
        if target and one not in notices and admits(one.specifier, target)
    ]
    if package.inactive:
        notes.append("no longer maintained")
    if distribution.is_local:
        kind = "editable install from" if distribution.is_editable else "installed from"
        notes.append(f"{kind} {distribution.origin or 'a folder or repository'}; update it there")
    elif not distribution.is_replaceable:
        notes.append("a local build, which an update would replace")
    if held is not None:
        notes.append(held.reason)
    elif status is Status.AHEAD:
        notes.append("newer than in the index")
    if status is Status.UPDATE and not has_requirements:
        notes.append("it may not work with your Python and napari")
    until = snooze.until if snooze is not None else None
    return UpdateRow(
        distribution.name, installed, choice.latest, target, newest, status, "; ".join(notes), withdrawn, vulnerabilities,
        warnings, until, _release_page(distribution, package, target or newest, environment), distribution.changelog,
    )  # fmt: skip


def _release_page(
    distribution: Distribution, package: TablePackage, version: str | None, environment: Environment
) -> str | None:
    if distribution.is_local or version is None:
        return None
    if environment.channel_of(str(canonicalize_name(distribution.name))) == "conda-forge":
        return f"https://anaconda.org/conda-forge/{quote(package.conda_name or distribution.name)}"
    return f"https://pypi.org/project/{quote(distribution.name)}/{quote(version)}/"


def _lookup(by_version: Mapping[str, T], version: str) -> T | None:
    """Look up a version as PEP 440 compares it: ``2022.01.05`` equals ``2022.1.5``."""
    return next((value for key, value in by_version.items() if same_version(key, version)), None)


def summary_of(rows: Iterable[UpdateRow], unlisted: Sequence[str], *, has_requirements: bool = True) -> str:
    """Return a summary in a few sentences. ``has_requirements``: False if the index does not give requirements."""
    rows = list(rows)
    updates = sum(row.status is Status.UPDATE for row in rows)
    unsafe = sum(row.is_unsafe for row in rows)
    if not rows and not unlisted:
        return "Neither napari nor a plugin is installed in this environment. Use the Python that runs napari."
    if updates and not has_requirements:
        text = f"There {'is' if updates == 1 else 'are'} {counted(updates, 'newer version')}, which may not work here."
    elif updates:
        text = "There is 1 update." if updates == 1 else f"There are {updates} updates, which work together."
    elif any(row.status is Status.HELD_BACK or is_newer(row.newest, row.installed) for row in rows):
        text = "No update to install now."
    else:
        text = "Everything is up to date."
    if unsafe:
        text += f" {unsafe} installed {'release' if unsafe == 1 else 'releases'} should no longer be used."
    if unlisted:
        text += f" {counted(len(unlisted), 'plugin')} {'is' if len(unlisted) == 1 else 'are'} not in the index."
    return text


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
