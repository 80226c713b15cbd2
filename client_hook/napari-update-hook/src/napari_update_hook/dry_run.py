"""Dry runs of a plan with the environment's own tool (pip, uv or conda)."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name

from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.errors import InstallError
from napari_update_hook.installers import Command, InstallCommands, Tool
from napari_update_hook.plan import Plan, violations_of
from napari_update_hook.versions import is_newer

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
"""Runs a program and returns its output. Raises InstallError if it fails to run or is cancelled."""
MAX_TRIES = 12
SEARCH_TIMEOUT_S = 120
DRY_RUN_TIMEOUT_S = 600
BINARY_ONLY = ("--only-binary", ":all:")
PIP_LIKE = (Tool.PIP, Tool.PIPX, Tool.UV)


@dataclass(frozen=True)
class Change:
    """A version change of a package. ``before``: None if it is new. ``after``: None if it is removed."""

    name: str
    before: str | None
    after: str | None

    @property
    def kind(self) -> str:
        if self.before is None or self.after is None:
            return "new" if self.before is None else "removed"
        return "downgrade" if is_newer(self.before, self.after) else "update"

    def __str__(self) -> str:
        return f"{self.name}: {self.before or 'not installed'} -> {self.after or 'not installed'}"


@dataclass(frozen=True)
class DryRun:
    """The result of a dry run.

    ``problem``: why the plan cannot be installed. ``is_known``: False if the tool has no dry run.
    """

    changes: tuple[Change, ...] = ()
    problem: str | None = None
    is_known: bool = True

    def others(self, plan: Plan) -> tuple[Change, ...]:
        planned = {canonicalize_name(one.name) for one in plan.updates}
        return tuple(one for one in self.changes if canonicalize_name(one.name) not in planned)

    @property
    def downgrades(self) -> tuple[Change, ...]:
        return tuple(one for one in self.changes if one.kind == "downgrade")


@dataclass(frozen=True)
class VerifiedPlan:
    """The plan that passed the dry run, or else the last one tried. ``left_out``: reasons by package name."""

    plan: Plan
    how: InstallCommands
    dry_run: DryRun
    left_out: Mapping[str, str]

    def lines(self) -> list[str]:
        tried, others, said = self.dry_run, self.dry_run.others(self.plan), []
        for kind, title in (("new", "New"), ("update", "Also changes"), ("downgrade", "Downgrades"), ("removed", "Removes")):
            named = [" ".join(filter(None, (one.name, one.before, one.after and f"-> {one.after}"))) for one in others
                     if one.kind == kind]  # fmt: skip
            said += [f"{title}: {', '.join(named)}"] if named else []
        said += [f"Left out: {name}, because {reason}" for name, reason in self.left_out.items()]
        if tried.problem is not None:
            said.append(f"Cannot be installed, because {tried.problem}")
        elif not tried.is_known:
            said.append("This environment's tool cannot do a dry run.")
        elif self.plan.updates:
            said.append("The dry run succeeded." + ("" if others else " Nothing else changes."))
        return said


def verify(
    make: Callable[[Mapping[str, str]], tuple[Plan, InstallCommands]],
    environment: Environment,
    *,
    build: bool = False,
    run: Run | None = None,
) -> VerifiedPlan:
    """Do a dry run of a plan; on a conflict, leave out one update at a time.

    ``make``: makes a plan without the given packages (reasons by name). ``build``: allow building source distributions,
    which runs their code. Raises InstallError if the tool cannot run.
    """
    left_out: dict[str, str] = {}
    plan, how = make(left_out)
    tried = dry_run(how, environment, build=build, run=run)
    tries, ends = 1, time.monotonic() + SEARCH_TIMEOUT_S
    while tried.problem is not None and plan.updates and tries < MAX_TRIES and time.monotonic() < ends:
        problem = tried.problem
        names = sorted((str(canonicalize_name(one.name)) for one in plan.updates), key=lambda name: (name not in problem, name))
        for name in names:
            smaller, how_smaller = make({**left_out, name: problem})
            if not smaller.updates or tries >= MAX_TRIES or time.monotonic() >= ends:
                continue
            tries += 1
            outcome = dry_run(how_smaller, environment, build=build, run=run)
            if outcome.problem is None:
                return VerifiedPlan(smaller, how_smaller, outcome, {**left_out, name: problem})
        left_out[names[0]] = problem
        plan, how = make(left_out)
        tried = dry_run(how, environment, build=build, run=run) if plan.updates else DryRun()
        tries += 1
    return VerifiedPlan(plan, how, tried, left_out)


def dry_run(how: InstallCommands, environment: Environment, *, build: bool = False, run: Run | None = None) -> DryRun:
    """Do a dry run, and check that the result violates no further requirements."""
    found: dict[str, Distribution | None] = {}
    run = run or run_and_capture
    for command in how.commands:
        if command.tool in PIP_LIKE:
            answer = (_try_uv if command.tool is Tool.UV else _try_pip)(command, build, run)
        elif command.tool is Tool.CONDA:
            answer = _try_conda(command, run)
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
            source = own.origin or "a folder or repository" if own.is_local else "outside the index"
            problems.append(f"{own.name} {own.version}, which comes from {source}, would be replaced by {change.after}")
        elif own is not None and own.is_plugin and change.kind == "downgrade":
            problems.append(f"{own.name} {own.version} would be downgraded to {change.after}")
    return DryRun(tuple(changes), "; ".join(problems) or None)


def _try_pip(command: Command, build: bool, run: Run) -> dict[str, Distribution | None] | str:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ("--dry-run", "--report", str(report), "--retries", "1", *(() if build else BINARY_ONLY))
        done = run(with_options(command.argv, *options))
        if done.returncode != 0:
            return _pip_problem(done.stdout + "\n" + done.stderr, build)
        document = json.loads(report.read_text("utf-8"))
    items = [item["metadata"] for item in document.get("install", ())]
    found = [Distribution(one["name"], one["version"], tuple(one.get("requires_dist") or ()), "pip") for one in items]
    return {str(canonicalize_name(one.name)): one for one in found}


def _try_uv(command: Command, build: bool, run: Run) -> dict[str, Distribution | None] | str:
    done = run(with_options(command.argv, "--dry-run", *(() if build else BINARY_ONLY)))
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + "\n" + done.stderr)
    if done.returncode != 0:
        _raise_if_offline(text, "uv")
        reason = text.partition("╰─▶")[2] or text
        return _add_build_hint(" ".join(reason.split()), build)
    found: dict[str, Distribution | None] = {}
    for sign, name, version in sorted(re.findall(r"^ ([-+~]) (\S+)==(\S+)", text, re.MULTILINE), key=lambda one: one[0] != "-"):
        found[str(canonicalize_name(name))] = None if sign == "-" else Distribution(name, version, (), "uv")
    return found


def _try_conda(command: Command, run: Run) -> dict[str, Distribution | None] | str:
    done = run((*command.argv, "--dry-run", "--json"))
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


def with_options(argv: Sequence[str], *options: str) -> tuple[str, ...]:
    place = argv.index("install") + 1
    return (*argv[:place], *options, *argv[place:])


def run_and_capture(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program and return its output. Raises InstallError if it cannot be run."""
    try:
        return subprocess.run(
            argv, capture_output=True, text=True, errors="replace", check=False, timeout=DRY_RUN_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InstallError(f"{argv[0]} was not found. Install it, or add its folder to PATH.") from error
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
        raise InstallError(f"{tool} could not reach its package index. Nothing was changed. Check your network connection.")


def _pip_problem(text: str, build: bool) -> str:
    """Extract pip's explanation of a conflict. Raises InstallError if pip is too old or offline."""
    if "no such option" in text:
        raise InstallError("This pip is too old for a dry run. Update it first: python -m pip install --upgrade pip")
    _raise_if_offline(text, "pip")
    lines = [line.strip() for line in text.splitlines()]
    told = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ") and "ResolutionImpossible" not in line]
    if "The conflict is caused by:" in lines:
        start = lines.index("The conflict is caused by:") + 1
        end = next((number for number in range(start, len(lines)) if not lines[number]), len(lines))
        told.append("; ".join(lines[start:end]))
    return _add_build_hint(" ".join(told) or " ".join(text.split())[-2000:] or "pip gave no reason", build)


def _add_build_hint(text: str, build: bool) -> str:
    """Suggest ``--build`` for packages that have no usable wheel."""
    found = re.findall(r"No matching distribution found for (\S+)|(\S+) has no usable wheels", text)
    names = ", ".join(dict.fromkeys(one or other for one, other in found))
    if build or not names:
        return text
    return f"{text} If there is no wheel for {names}, pass --build to build from source, which runs the package's code."
