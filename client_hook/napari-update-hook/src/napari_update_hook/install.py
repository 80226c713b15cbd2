"""Tries a plan with the environment's own tool, carries it out, and goes back.

A dry run asks the package index as the installation itself would; the update server learns nothing of it. It builds nothing
unless told to, because building a source distribution runs its code.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from napari_update_hook.environment import Distribution, Environment, read_environment
from napari_update_hook.errors import InstallError
from napari_update_hook.installers import PROJECTS, Command, HowTo, InstallEnvironment, Tool, tool_of
from napari_update_hook.plan import Plan, violations_of
from napari_update_hook.versions import is_newer, same_version

MAX_TRIES = 12
"""Dry runs while looking for a part of a set that can be resolved."""
SEARCH_TIMEOUT_S = 120
"""After this long, no more dry runs begin."""
DRY_RUN_TIMEOUT_S = 600
_BINARY_ONLY = ("--only-binary", ":all:")
_PIP_LIKE = (Tool.PIP, Tool.PIPX, Tool.UV)


@dataclass(frozen=True)
class Change:
    """A package that an installation changes. ``before`` is None for a new one, ``after`` for one that is removed."""

    name: str
    before: str | None
    after: str | None

    @property
    def kind(self) -> str:
        """``new``, ``removed``, ``update`` or ``downgrade``"""
        if self.before is None or self.after is None:
            return "new" if self.before is None else "removed"
        return "downgrade" if is_newer(self.before, self.after) else "update"


@dataclass(frozen=True)
class DryRun:
    """What a tool would do. ``problem``: why it cannot, None where it can; ``is_known``: False where the tool cannot tell."""

    changes: tuple[Change, ...] = ()
    problem: str | None = None
    is_known: bool = True

    @property
    def downgrades(self) -> tuple[Change, ...]:
        """Packages that would be replaced by older ones."""
        return tuple(one for one in self.changes if one.kind == "downgrade")


@dataclass(frozen=True)
class Verified:
    """A plan that the tool can carry out, or the last one tried. ``left_out``: names of what had to go, with the reason."""

    plan: Plan
    how: HowTo
    dry_run: DryRun
    left_out: Mapping[str, str]


def verify(
    make: Callable[[Mapping[str, str]], tuple[Plan, HowTo]],
    environment: Environment,
    *,
    build: bool = False,
) -> Verified:
    """Try a plan; where it cannot be resolved, find a part that can, by leaving out one update at a time.

    ``make``: returns the plan without some names (with reasons) and how to install it. ``build``: allow building source
    distributions, that is, running their code. Raises InstallError where the tool cannot be run.
    """
    left_out: dict[str, str] = {}
    plan, how = make(left_out)
    tried = dry_run(how, environment, build=build)
    tries, ends = 1, time.monotonic() + SEARCH_TIMEOUT_S
    while tried.problem is not None and plan.updates and tries < MAX_TRIES and time.monotonic() < ends:
        problem = tried.problem
        names = sorted((str(canonicalize_name(one.name)) for one in plan.updates), key=lambda name: (name not in problem, name))
        for name in names:
            smaller, how_smaller = make({**left_out, name: problem})
            if not smaller.updates or tries >= MAX_TRIES or time.monotonic() >= ends:
                continue
            tries += 1
            outcome = dry_run(how_smaller, environment, build=build)
            if outcome.problem is None:
                return Verified(smaller, how_smaller, outcome, {**left_out, name: problem})
        left_out[names[0]] = problem
        plan, how = make(left_out)
        tried = dry_run(how, environment, build=build) if plan.updates else DryRun()
        tries += 1
    return Verified(plan, how, tried, left_out)


def dry_run(how: HowTo, environment: Environment, *, build: bool = False) -> DryRun:
    """Ask the environment's own tool what its commands would do, and check all requirements of the result."""
    found: dict[str, Distribution | None] = {}
    for command in how.commands:
        if command.tool in _PIP_LIKE:
            answer = _try_uv(command, build) if command.tool is Tool.UV else _try_pip(command, build)
        elif command.tool is Tool.CONDA:
            answer = _try_conda(command)
        else:
            return DryRun(is_known=False)
        if isinstance(answer, str):
            return DryRun(problem=answer)
        found |= answer
    here = environment.distributions
    changes = [
        Change(one.name if one is not None else here[name].name, here[name].version if name in here else None,
               one.version if one is not None else None)
        for name, one in sorted(found.items())
        if one is not None or name in here
    ]  # fmt: skip
    changes = [one for one in changes if one.before != one.after]
    after = {name: one for name, one in {**here, **found}.items() if one is not None}
    before = {one.key for one in violations_of(environment)}
    broken = [one for one in violations_of(replace(environment, distributions=after)) if one.key not in before]
    problems = [one.text("would be installed") for one in broken]
    for change in changes:
        own = here.get(str(canonicalize_name(change.name)))
        if own is not None and not own.is_replaceable:
            source = own.origin or "a folder or repository" if own.is_local else "somewhere else than the index"
            problems.append(f"{own.name} {own.version}, which comes from {source}, would be replaced by {change.after}")
        elif own is not None and own.is_plugin and change.kind == "downgrade":
            problems.append(f"{own.name} {own.version} would be replaced by the older {change.after}")
    return DryRun(tuple(changes), "; ".join(problems) or None)


def _try_pip(command: Command, build: bool) -> dict[str, Distribution | None] | str:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ("--dry-run", "--report", str(report), "--retries", "1", *(() if build else _BINARY_ONLY))
        done = _run(_with_options(command.argv, *options))
        if done.returncode != 0:
            return _pip_problem(done.stdout + "\n" + done.stderr, build)
        document = json.loads(report.read_text("utf-8"))
    items = [item["metadata"] for item in document.get("install", ())]
    found = [Distribution(one["name"], one["version"], tuple(one.get("requires_dist") or ()), "pip") for one in items]
    return {str(canonicalize_name(one.name)): one for one in found}


def _try_uv(command: Command, build: bool) -> dict[str, Distribution | None] | str:
    done = _run(_with_options(command.argv, "--dry-run", *(() if build else _BINARY_ONLY)))
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + "\n" + done.stderr)
    if done.returncode != 0:
        _raise_if_offline(text, "uv")
        reason = text.partition("╰─▶")[2] or text
        return _with_build_hint(" ".join(reason.split()), build)
    found: dict[str, Distribution | None] = {}
    for sign, name, version in sorted(re.findall(r"^ ([-+~]) (\S+)==(\S+)", text, re.MULTILINE), key=lambda one: one[0] != "-"):
        found[str(canonicalize_name(name))] = None if sign == "-" else Distribution(name, version, (), "uv")
    return found


def _try_conda(command: Command) -> dict[str, Distribution | None] | str:
    done = _run((*command.argv, "--dry-run", "--json"))
    try:
        document = json.loads(done.stdout)
    except ValueError:
        return " ".join((done.stdout + done.stderr).split())[-2000:]
    if done.returncode != 0 or not document.get("success", True):
        return " ".join(str(document.get("message") or document.get("error") or "conda gave no reason").split())
    actions = document.get("actions") or {}
    found: dict[str, Distribution | None] = {str(canonicalize_name(one["name"])): None for one in actions.get("UNLINK", ())}
    for one in actions.get("LINK", ()):
        found[str(canonicalize_name(one["name"]))] = Distribution(one["name"], one["version"], (), "conda")
    return found


def _with_options(argv: Sequence[str], *options: str) -> tuple[str, ...]:
    place = argv.index("install") + 1
    return (*argv[:place], *options, *argv[place:])


def _run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv, capture_output=True, text=True, errors="replace", check=False, timeout=DRY_RUN_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InstallError(f"{argv[0]} was not found. Install it, or put its folder on the path.") from error
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{argv[0]} did not finish its dry run in {DRY_RUN_TIMEOUT_S // 60} minutes.") from error
    except OSError as error:
        raise InstallError(f"{argv[0]} could not be started ({error.strerror or error}).") from error


_OFFLINE = re.compile(
    r"NewConnectionError|ConnectTimeout|ProxyError|NameResolutionError|Max retries exceeded|"  # pip
    r"error sending request|dns error|tcp connect error|network was disabled"  # uv
)


def _raise_if_offline(text: str, tool: str) -> None:
    if _OFFLINE.search(text):
        raise InstallError(f"{tool} could not reach its package index. Is there a network? Nothing was changed.")


def _pip_problem(text: str, build: bool) -> str:
    """What pip says of a conflict, without its advice. Raises InstallError for what is not a conflict."""
    if "no such option" in text:
        raise InstallError("This pip is too old to try an installation. Update it first: python -m pip install --upgrade pip")
    _raise_if_offline(text, "pip")
    lines = [line.strip() for line in text.splitlines()]
    told = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ") and "ResolutionImpossible" not in line]
    if "The conflict is caused by:" in lines:
        start = lines.index("The conflict is caused by:") + 1
        end = next((number for number in range(start, len(lines)) if not lines[number]), len(lines))
        told.append("; ".join(lines[start:end]))
    return _with_build_hint(" ".join(told) or " ".join(text.split())[-2000:] or "pip gave no reason", build)


def _with_build_hint(text: str, build: bool) -> str:
    """Name what may have to be built, which is allowed only with ``build``."""
    found = re.findall(r"No matching distribution found for (\S+)|(\S+) has no usable wheels", text)
    names = ", ".join(dict.fromkeys(one or other for one, other in found))
    if build or not names:
        return text
    return f"{text} If {names} exists only as source code, --build allows building it, which runs its code."


# Carry out and go back


@dataclass(frozen=True)
class Outcome:
    """The environment after an installation. ``missing``: targets that were not reached; ``broken``: new violations."""

    changes: tuple[Change, ...]
    missing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    failure: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether everything that was planned is there, and nothing broke."""
        return not (self.missing or self.broken or self.failure)


def restore_point(environment: Environment, place: InstallEnvironment, changes: Iterable[Change], now: str) -> dict[str, Any]:
    """Return what `undo_commands` needs to take ``changes`` back, as JSON values.

    ``packages``: by normalized name [name, version or None, installer] of what changes, and nothing else: what is installed
    later is not touched.
    """
    packages: dict[str, list[str | None]] = {}
    for change in changes:
        own = environment.distributions.get(name := str(canonicalize_name(change.name)))
        packages[name] = [own.name, own.version, own.installer] if own is not None else [change.name, None, ""]
    return {"at": now, "packages": packages, "conda_revision": _conda_revision(place)}


def _conda_revision(place: InstallEnvironment) -> int | None:
    """The revision of a conda environment, to which conda can go back: its history has a heading for each."""
    try:
        history = (Path(place.prefix) / "conda-meta" / "history").read_text("utf-8", "replace")
    except OSError:
        return None
    return sum(line.startswith("==> ") for line in history.splitlines()) - 1


def run_commands(commands: Sequence[Command], *, build: bool = False, quiet: bool = False) -> str | None:
    """Run commands with their output visible; return why they failed, None if they did not.

    An interrupt reaches the tool itself, which may have to take back what it began, so it is waited for. ``quiet``: output goes
    to standard error, because something else has standard output.
    """
    for command in commands:
        argv = command.argv
        if command.tool in _PIP_LIKE and "install" in argv and not build:
            argv = _with_options(argv, *_BINARY_ONLY)
        if command.tool is Tool.CONDA:
            argv = (*argv, "--yes")
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


def outcome_of(before: Environment, targets: Mapping[str, str], failure: str | None) -> Outcome:
    """Compare the environment with what it was, and with the ``targets`` (versions by normalized name)."""
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


def undo_commands(point: Mapping[str, Any], environment: Environment, place: InstallEnvironment) -> HowTo:
    """Return the commands that take a restore point's changes back: exact versions, and nothing else.

    Empty, without a reason, where everything is as it was.
    """
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
            return HowTo(
                reason="Go back to the earlier project file and lock file, for instance with git, and install them again."
            )
        argvs = _undo_argvs(tool, place, old.get(tool, []), new.get(tool, []), point.get("conda_revision"))
        if argvs is None:
            return HowTo(reason=f"Updates by {tool.value} cannot be taken back from here.")
        commands += [Command(tool, tuple(one), place.is_windows) for one in argvs]
    return HowTo(tuple(commands))


def one_at_a_time(commands: Sequence[Command]) -> list[Command]:
    """Split commands that install several versions: one that is gone from the index must not hold back the others."""
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
    if tool not in _PIP_LIKE:
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
