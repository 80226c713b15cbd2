"""What a person installs from the panel. Each function runs on the session's thread, and returns what to show at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_update_hook import offer
from napari_update_hook.dry_run import Verified, verify
from napari_update_hook.errors import InstallError
from napari_update_hook.install import carry_out, changes_back, take_back, undo_commands

if TYPE_CHECKING:
    from napari_update_hook.client import UpdateClient
    from napari_update_hook.plugin.runner import Runner

TRYING = "Trying without installing…"
Change = Callable[..., object]
"""Changes fields of the `Task` while it runs."""


@dataclass(frozen=True)
class Task:
    """An installation or a dry run that a person began, and then its result.

    ``names``: the packages, empty for all. ``outcome``: sentences, empty while it runs; ``question``: what to agree to before
    it goes on. ``can_cancel``: False once it was cancelled, and where the tool cannot be stopped.
    """

    title: str
    names: tuple[str, ...] = ()
    is_running: bool = True
    can_cancel: bool = True
    has_failed: bool = False
    has_changed: bool = False
    outcome: str = ""
    question: str = ""
    log: tuple[str, ...] = ()


def try_update(client: UpdateClient, runner: Runner, _: Change, *, names: Sequence[str]) -> dict[str, Any]:
    """Let the environment's own tool try an update, to see what else changes. Raises InstallError."""
    return {"outcome": "\n".join(_verified(client, names, runner).lines())}


def update(
    client: UpdateClient, runner: Runner, change: Change, *, names: Sequence[str], with_downgrades: bool
) -> dict[str, Any]:
    """Try an update, and install it. Raises InstallError."""
    checked = _verified(client, names, runner)
    if checked.dry_run.downgrades and not with_downgrades:
        older = ", ".join(f"{one.name} {one.before} → {one.after}" for one in checked.dry_run.downgrades)
        return {"question": f"This would also make older: {older}. Install it anyway?"}
    updates = ", ".join(f"{one.name} {one.target}" for one in checked.plan.updates)
    change(title=f"Installing {updates}…", can_cancel=runner.can_interrupt)
    outcome = carry_out(client, checked, runner.run)
    said = [f"Installed {updates}. Restart napari to use it."] if outcome.is_good else outcome.lines()
    said += [f"Left out: {name}, because {reason}" for name, reason in checked.left_out.items()]
    return {"outcome": "\n".join(said), "has_failed": not outcome.is_good, "has_changed": bool(outcome.changes)}


def undo(client: UpdateClient, runner: Runner, change: Change) -> dict[str, Any]:
    """Go back to before the last update. Raises InstallError."""
    points = client.state.restore_points()
    how = undo_commands(points[0], client.environment, client.install) if points else None
    if how is None or not how.commands:
        raise InstallError(how.reason if how is not None and how.reason else "There is nothing to undo.")
    changes = changes_back(points[0], client.environment)
    change(can_cancel=runner.can_interrupt)
    failure, left = take_back(client, points[0], partial(runner.run, build=True))
    if left.commands or left.reason:
        commands = "\n".join(map(str, left.commands))
        said = f"Not everything is back: {failure}\nThese commands are left:\n{commands}"
        return {"outcome": said, "has_failed": True, "has_changed": True}
    names = ", ".join(f"{one.name} {one.after}" if one.after else f"{one.name} removed" for one in changes)
    return {"outcome": f"Back to {names}. Restart napari to use it.", "has_changed": True}


def install_telemetry(client: UpdateClient, runner: Runner, _: Change, *, then: Callable[[], object]) -> dict[str, Any]:
    """Install the package for usage reports, then call ``then``. Raises InstallError."""
    how = offer.how_to_install(client.install, client.environment)
    if how.reason is not None:
        raise InstallError(how.reason)
    offer.run(how)
    then()
    return {"outcome": "Installed."}


def what_undo_changes(client: UpdateClient) -> tuple[str, ...]:
    """Return in words what going back to before the last update would change; empty for nothing."""
    points = client.state.restore_points()
    if not points or not undo_commands(points[0], client.environment, client.install).commands:
        return ()
    return tuple(map(str, changes_back(points[0], client.environment)))


def _verified(client: UpdateClient, names: Sequence[str], runner: Runner) -> Verified:
    """Return a plan for the running napari that was tried. Raises InstallError where there is none."""
    index = client.known_index()
    if index is None:
        raise InstallError("Check for updates first.")
    make = client.planner(index, keep_napari=True, only=names)
    plan, how = make({})
    if not plan.updates or how.reason is not None:
        raise InstallError(how.reason or "; ".join(one.reason for one in plan.held_back) or "There is nothing to update.")
    checked = verify(make, client.environment, run=runner.captured)
    if checked.dry_run.problem is not None or not checked.plan.updates:
        raise InstallError("\n".join([*checked.lines(), "Nothing was changed."]))
    return checked
