"""Install a plan with the environment's own tool, and undo it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from napari_update_hook.dry_run import BINARY_ONLY, PIP_LIKE, Change, VerifiedPlan, with_options
from napari_update_hook.environment import Environment, read_environment
from napari_update_hook.errors import StateError
from napari_update_hook.installers import PROJECTS, Command, InstallCommands, InstallEnvironment, Tool, tool_of
from napari_update_hook.plan import violations_of
from napari_update_hook.updates import counted
from napari_update_hook.versions import same_version

if TYPE_CHECKING:
    from napari_update_hook.client import UpdateClient

RunCommands = Callable[[Sequence[Command]], "str | None"]
"""Runs commands in order; returns the failure, or None."""


@dataclass(frozen=True)
class Outcome:
    """The result of an installation.

    ``missing``: targets that were not installed. ``broken``: new violations. ``back``: commands to undo it.
    """

    changes: tuple[Change, ...]
    missing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    failure: str | None = None
    notice: str | None = None
    back: InstallCommands = field(default_factory=InstallCommands)

    @property
    def is_good(self) -> bool:
        return not (self.missing or self.broken or self.failure)

    def lines(self) -> list[str]:
        said = [self.notice] if self.notice else []
        if self.is_good:
            return [f"Done: {counted(len(self.changes), 'package')} changed. Restart napari.", *said]
        if self.failure:  # with several lines, it ends with the tool's output
            said.append(f"The installation failed: {self.failure}" + ("" if "\n" in self.failure else "."))
        if not self.changes:
            return [*said, "Nothing was changed."]
        said += [str(one) for one in self.changes]
        said += [f"Not installed: {', '.join(self.missing)}."] if self.missing else []
        return said + [f"Broken now: {text}." for text in self.broken]


def restore_point(environment: Environment, place: InstallEnvironment, changes: Iterable[Change], now: str) -> dict[str, Any]:
    """Return the restore point for `undo_commands`: name, version (or None) and installer of each package to be changed."""
    packages: dict[str, list[str | None]] = {}
    for change in changes:
        own = environment.distributions.get(name := str(canonicalize_name(change.name)))
        packages[name] = [own.name, own.version, own.installer] if own is not None else [change.name, None, ""]
    return {"at": now, "packages": packages, "conda_revision": _conda_revision(place)}


def _conda_revision(place: InstallEnvironment) -> int | None:
    """Return the current conda revision by counting headings in the history, or None without one."""
    try:
        history = (Path(place.prefix) / "conda-meta" / "history").read_text("utf-8", "replace")
    except OSError:
        return None
    return sum(line.startswith("==> ") for line in history.splitlines()) - 1


def argv_of(command: Command, *, build: bool = False) -> tuple[str, ...]:
    """Return the arguments to run a command unattended. ``build``: allow building source distributions."""
    if command.tool is Tool.CONDA:
        return (*command.argv, "--yes")
    is_pip = command.tool in PIP_LIKE and "install" in command.argv
    return with_options(command.argv, *BINARY_ONLY) if is_pip and not build else command.argv


def run_commands(commands: Sequence[Command], *, build: bool = False, quiet: bool = False) -> str | None:
    """Run commands with visible output; return the failure, or None. ``quiet``: print their output to stderr.

    On Ctrl+C, wait for the tool: it is interrupted too, and may be rolling back.
    """
    for command in commands:
        argv = argv_of(command, build=build)
        try:
            process = subprocess.Popen(argv, stdout=sys.stderr if quiet else None)
        except OSError as error:
            return f"{argv[0]} could not be started ({error.strerror or error})"
        interrupted = False
        while process.returncode is None:
            try:
                process.wait()
            except KeyboardInterrupt:
                interrupted = True
        if interrupted:
            return f"{argv[0]} was interrupted"
        if process.returncode != 0:
            return f"{' '.join(argv[:4])} … ended with exit code {process.returncode}"
    return None


def install_plan(client: UpdateClient, checked: VerifiedPlan, run: RunCommands) -> Outcome:
    """Install a plan and save a restore point. Raises InstallError if another process is installing."""
    now = client.settings.now().isoformat()
    targets = {str(canonicalize_name(one.name)): one.target for one in checked.plan.updates}
    expected = [*checked.dry_run.changes, *(Change(one.name, one.installed, one.target) for one in checked.plan.updates)]
    point = restore_point(client.environment, client.install, expected, now)
    notice = None
    with client.state.installing():
        try:
            client.state.add_restore_point(point)
        except StateError as error:
            notice = f"This update cannot be undone later: {error}"
        outcome = compare_outcome(client.environment, targets, run(checked.how.commands))
    point = restore_point(client.environment, client.install, [*expected, *outcome.changes], now) | {
        "conda_revision": point["conda_revision"]
    }
    with contextlib.suppress(StateError):
        if outcome.changes:
            client.state.add_restore_point(point)
        else:
            client.state.drop_restore_point(point)
    return replace(outcome, notice=notice, back=undo_commands(point, read_environment(), client.install))


def roll_back(client: UpdateClient, point: dict[str, Any], run: RunCommands) -> tuple[str | None, InstallCommands]:
    """Undo an update; return the failure and the remaining commands. Raises InstallError if another process installs."""
    with client.state.installing():
        failure = run(undo_commands(point, client.environment, client.install).commands)
        left = undo_commands(point, read_environment(), client.install)
        if failure is not None and left.commands:
            for command in split_commands(left.commands):
                failure = run([command]) or failure
            left = undo_commands(point, read_environment(), client.install)
    if not left.commands and left.reason is None:
        with contextlib.suppress(StateError):
            client.state.drop_restore_point(point)
    return failure, left


def undo_preview(point: Mapping[str, Any], environment: Environment) -> tuple[Change, ...]:
    packages = sorted(point["packages"].items())
    changes = [Change(shown, _version(environment, name), version) for name, (shown, version, _) in packages]
    return tuple(one for one in changes if one.before != one.after)


def compare_outcome(before: Environment, targets: Mapping[str, str], failure: str | None) -> Outcome:
    """Compare the environment before and after an installation. ``targets``: versions by normalized name."""
    after = read_environment()
    names = sorted({*before.distributions, *after.distributions})
    changes = [Change(name, _version(before, name), _version(after, name)) for name in names]
    known = {one.key for one in violations_of(before)}
    return Outcome(
        tuple(one for one in changes if one.before != one.after),
        tuple(f"{name} {target}" for name, target in targets.items() if not same_version(_version(after, name), target)),
        tuple(str(one) for one in violations_of(after) if one.key not in known),
        failure,
    )


def undo_commands(point: Mapping[str, Any], environment: Environment, place: InstallEnvironment) -> InstallCommands:
    """Return the commands that restore the exact versions. There are none, without a reason, if nothing differs."""
    old: dict[Tool, list[str]] = {}
    new: dict[Tool, list[str]] = {}
    for name, (shown, version, installer) in sorted(point["packages"].items()):
        current = environment.distributions.get(name)
        if version is None and current is not None:
            new.setdefault(tool_of(place, current.installer), []).append(current.name)
        elif version is not None and (current is None or current.version != version):
            old.setdefault(tool_of(place, installer), []).append(f"{shown}=={version}")
    commands = []
    for tool in sorted({*old, *new}, key=lambda one: one.value):
        if tool in PROJECTS:
            return InstallCommands(
                reason="Restore the earlier project file and lock file, for instance with git, and install from them."
            )
        argvs = _undo_argvs(tool, place, old.get(tool, []), new.get(tool, []), point.get("conda_revision"))
        if argvs is None:
            return InstallCommands(reason=f"Updates by {tool.value} cannot be undone by this program.")
        commands += [Command(tool, tuple(one), place.is_windows) for one in argvs]
    return InstallCommands(tuple(commands))


def split_commands(commands: Sequence[Command]) -> list[Command]:
    """Split commands into one per package, so that a version missing from the index does not block the others."""
    found = []
    for command in commands:
        if "--no-deps" in command.argv:
            place = command.argv.index("--no-deps") + 1
            found += [replace(command, argv=(*command.argv[:place], one)) for one in command.argv[place:]]
        else:
            found.append(command)
    return found


def _undo_argvs(
    tool: Tool, place: InstallEnvironment, old: list[str], new: list[str], conda_revision: int | None
) -> list[list[str]] | None:
    python, program = str(place.executable), place.prefix.name
    if tool is Tool.CONDA:
        is_conda = place.conda.lower().endswith(("conda", "conda.exe", "conda.bat")) and "micromamba" not in place.conda
        command = [place.conda, "install", "-p", str(place.prefix), "--revision", str(conda_revision)]
        return [command] if is_conda and conda_revision is not None else None
    if tool not in PIP_LIKE:
        return None
    pip = {
        Tool.PIP: ([python, "-m", "pip", "install"], [python, "-m", "pip", "uninstall", "-y"]),
        Tool.UV: (["uv", "pip", "install", "--python", python], ["uv", "pip", "uninstall", "--python", python]),
        Tool.PIPX: (["pipx", "runpip", program, "install"], ["pipx", "runpip", program, "uninstall", "-y"]),
    }[tool]
    return [*([[*pip[0], "--no-deps", *old]] if old else []), *([[*pip[1], *new]] if new else [])]


def _version(environment: Environment, name: str) -> str | None:
    found = environment.distributions.get(name)
    return found.version if found is not None else None
