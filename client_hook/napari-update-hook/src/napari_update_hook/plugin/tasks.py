"""The panel's tasks. Each runs on the session's thread and returns the fields to set in its final `Task`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from napari_update_hook import offer
from napari_update_hook.dry_run import VerifiedPlan, verify
from napari_update_hook.errors import InstallError
from napari_update_hook.install import install_plan, roll_back, undo_commands, undo_preview
from napari_update_hook.plan import NAPARI, PlannedUpdate

if TYPE_CHECKING:
    from napari_update_hook.client import UpdateClient
    from napari_update_hook.plugin.runner import Runner

NAPARI_UNDO_HINT = "The last update changed napari itself. Close napari, and run in its environment: napari-updates undo"
DRY_RUN_TITLE = "Doing a dry run…"
Change = Callable[..., object]
"""Sets fields of the running `Task`."""


@dataclass(frozen=True)
class Task:
    """A dry run, installation or undo, and later its result.

    ``names``: packages to update; empty for all. ``question``: asked before the installation. ``with_downgrades``: passed
    to `update` if the user agrees. ``can_cancel``: False if already cancelled or not interruptible.
    """

    title: str
    names: tuple[str, ...] = ()
    is_running: bool = True
    can_cancel: bool = True
    has_failed: bool = False
    has_changed: bool = False
    is_changing: bool = False
    can_undo: bool = False
    with_downgrades: bool = False
    outcome: str = ""
    question: str = ""
    log: tuple[str, ...] = ()


def try_update(client: UpdateClient, runner: Runner, _change: Change, *, names: Sequence[str]) -> dict[str, Any]:
    """Do a dry run and return what would change. Raises InstallError."""
    _, checked = _verified(client, names, runner)
    others = [one for one in checked.plan.updates if names and one.name not in names]
    said = [f"Also updates {_named(others)}."] if others else []
    return {"outcome": "\n".join([*said, *checked.lines()])}


def update(
    client: UpdateClient, runner: Runner, change: Change, *, names: Sequence[str], with_downgrades: bool
) -> dict[str, Any]:
    """Do a dry run, then install. Raises InstallError."""
    wanted, checked = _verified(client, names, runner)
    if set(wanted) != set(names):
        together = [one for one in checked.plan.updates if one.name not in names]
        return {"question": f"{', '.join(names)} works only with {_named(together)}. Install them together?", "names": wanted}
    if checked.dry_run.downgrades and not with_downgrades:
        older = ", ".join(f"{one.name} {one.before} → {one.after}" for one in checked.dry_run.downgrades)
        return {"question": f"This would also downgrade {older}. Install it anyway?", "with_downgrades": True}
    updates = _named(checked.plan.updates)
    change(title=f"Installing {updates}…", can_cancel=runner.can_interrupt, is_changing=True)
    outcome = install_plan(client, checked, runner.run)
    said = outcome.lines()
    if outcome.is_good:
        said[0] = f"Installed {updates}. Restart napari to use {_pronoun(checked.plan.updates)}."
    said += [f"Left out: {name}, because {reason}" for name, reason in checked.left_out.items()]
    has_changed = bool(outcome.changes)
    return {"outcome": "\n".join(said), "has_failed": not outcome.is_good, "has_changed": has_changed, "can_undo": has_changed}


def undo(client: UpdateClient, runner: Runner, change: Change) -> dict[str, Any]:
    """Restore the versions from before the last update. Raises InstallError."""
    points = client.state.restore_points()
    how = undo_commands(points[0], client.environment, client.install) if points else None
    if how is None or not how.commands:
        raise InstallError(how.reason if how is not None and how.reason else "There is nothing to undo.")
    changes = undo_preview(points[0], client.environment)
    if any(one.name == NAPARI for one in changes):
        raise InstallError(NAPARI_UNDO_HINT)
    change(can_cancel=runner.can_interrupt, is_changing=True)
    failure, left = roll_back(client, points[0], partial(runner.run, build=True))
    if left.commands or left.reason:
        said = ["Not everything was undone.", *filter(None, (failure, left.reason))]
        said += ["Run these commands to finish:", *map(str, left.commands)] if left.commands else []
        return {"outcome": "\n".join(said), "has_failed": True, "has_changed": True}
    names = ", ".join(f"{one.name} {one.after}" if one.after else f"{one.name} (removed)" for one in changes)
    return {"outcome": f"Restored {names}. Restart napari to use {_pronoun(changes)}.", "has_changed": True}


def install_telemetry(client: UpdateClient, _: Runner, change: Change, *, then: Callable[[], object]) -> dict[str, Any]:
    """Install napari-telemetry, then call ``then``. Raises InstallError."""
    how = offer.how_to_install(client.install, client.environment)
    if how.reason is not None:
        raise InstallError(how.reason)
    change(is_changing=True)
    with client.state.installing():
        offer.run(how)
    then()
    return {"outcome": "Installed."}


def undo_summary(client: UpdateClient) -> tuple[str, ...]:
    points = client.state.restore_points()
    if not points or not undo_commands(points[0], client.environment, client.install).commands:
        return ()
    changes = undo_preview(points[0], client.environment)
    return () if any(one.name == NAPARI for one in changes) else tuple(map(str, changes))


def _verified(client: UpdateClient, names: Sequence[str], runner: Runner) -> tuple[tuple[str, ...], VerifiedPlan]:
    """Verify a plan for ``names`` and the updates they need; return all their names and the plan. Raises InstallError."""
    index = client.known_index()
    if index is None:
        raise InstallError("Check for updates first.")
    wanted = tuple(names)
    joint, how = client.planner(index, keep_napari=True)({})
    if how.reason is not None:
        raise InstallError(how.reason)
    offered = {str(canonicalize_name(one.name)): one.name for one in joint.updates}
    while True:
        make = client.planner(index, keep_napari=True, only=wanted)
        plan, _ = make({})
        more = [offered[name] for held in plan.held_back for name in held.by if name in offered and offered[name] not in wanted]
        if plan.updates or not wanted or not more:
            break
        wanted = (*wanted, *dict.fromkeys(more))
    if not plan.updates:
        raise InstallError("; ".join(one.reason for one in plan.held_back) or "There is nothing to update.")
    checked = verify(make, client.environment, run=runner.captured)
    if checked.dry_run.problem is not None or not checked.plan.updates:
        raise InstallError("\n".join([*checked.lines(), "Nothing was changed."]))
    return wanted, checked


def _named(updates: Iterable[PlannedUpdate]) -> str:
    return ", ".join(f"{one.name} {one.target}" for one in updates)


def _pronoun(changes: Sequence[object]) -> str:
    return "it" if len(changes) == 1 else "them"
