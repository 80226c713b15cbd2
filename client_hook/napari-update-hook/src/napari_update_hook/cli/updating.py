"""The ``plan``, ``update`` and ``undo`` commands."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer
from packaging.utils import canonicalize_name
from rich.table import Table

from napari_update_hook.cli.options import DONE, FAILURE, UPDATES, BuildOption, JsonOption, ServerOption, YesOption
from napari_update_hook.client import Planner, UpdateClient, current_client
from napari_update_hook.dry_run import VerifiedPlan, verify
from napari_update_hook.errors import InstallError, SettingsError
from napari_update_hook.index import Index
from napari_update_hook.install import Outcome, install_plan, roll_back, run_commands, undo_commands, undo_preview
from napari_update_hook.installers import InstallCommands
from napari_update_hook.plan import Plan, napari_impact
from napari_update_hook.table import admits
from napari_update_hook.terminal import is_interactive, out, plain, say, say_command, say_json, waiting, warn
from napari_update_hook.versions import is_newer, parsed, same_version

NapariOption = Annotated[
    str | None, typer.Option("--napari", metavar="VERSION", help="Plan for this napari version; show what it would break.")
]
KeepOption = Annotated[bool, typer.Option("--keep-napari", help="Plan for the installed napari version.")]
VerifyOption = Annotated[bool, typer.Option("--verify", help="Do a dry run with pip, uv or conda, and show what else changes.")]
DowngradeOption = Annotated[bool, typer.Option("--allow-downgrades", help="With --yes: allow downgrades of other packages.")]
NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Packages to update. Default: all.")]


def add_to(app: typer.Typer) -> None:
    app.command()(plan)
    app.command()(update)
    app.command()(undo)


def plan(
    napari: NapariOption = None,
    keep_napari: KeepOption = False,
    verified: VerifyOption = False,
    build: BuildOption = False,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which updates work together, and what blocks the others. Installs nothing.

    Exit code 10: updates are available. 0: there are none.
    """
    if napari is not None and parsed(napari) is None:
        raise SettingsError(f"{napari!r} is not a version. Write it like 0.9.2")
    client, index = _fetch_index(server)
    if napari is not None:
        _check_napari(napari, client, index)
    made = client.planner(index, napari=napari, keep_napari=keep_napari)
    found, how = made({})
    checked = _verify(client, made, build) if verified and found.updates else None
    if checked is not None:
        found, how = checked.plan, checked.how
    verdicts = napari_impact(index.packages, client.environment, napari) if napari is not None else ()
    if as_json:
        say_json(_document(found, how, checked) | ({"napari_would": verdicts} if napari is not None else {}))
    else:
        if verdicts:
            table = Table("plugin", "installed", f"with napari {napari}", "because")
            for one in verdicts:
                style = "green" if one.answer == "fine" else "" if one.answer.startswith("update") else "red"
                table.add_row(plain(one.name), plain(one.installed), plain(one.answer, style), plain(one.reason))
            out.print(table)
        if napari is not None and found.napari is not None and not same_version(found.napari, napari):
            warn(f"Not everything works with napari {napari}. This plan is for the installed napari {found.napari}.")
        _print_plan(found, how, checked)
        if index.notice:
            warn(index.notice)
    raise typer.Exit(UPDATES if found.updates else DONE)


def _check_napari(napari: str, client: UpdateClient, index: Index) -> None:
    """Raises SettingsError if this version cannot be installed here."""
    if "napari" not in index.packages:
        raise SettingsError(f"{client.settings.server} does not list napari, so no plan for another version is possible.")
    rows = [row for row in index.packages["napari"].releases if same_version(row.version, napari)]
    if not rows:
        newest = index.packages["napari"].releases[0].version
        raise SettingsError(f"The index of {client.settings.server} does not list napari {napari}. Its newest is {newest}.")
    if not any(admits(row.requires_python, client.environment.python) for row in rows):
        needs = rows[0].requires_python
        raise SettingsError(f"napari {napari} needs Python {needs}; this is {client.environment.python_minor}.")


def _fetch_index(server: str | None) -> tuple[UpdateClient, Index]:
    client = current_client(server)
    with waiting("Asking for updates"):
        return client, client.index()


def _verify(client: UpdateClient, made: Planner, build: bool) -> VerifiedPlan:
    with waiting("Doing a dry run"):
        return verify(made, client.environment, build=build)


def _document(found: Plan, how: InstallCommands, checked: VerifiedPlan | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "napari": found.napari,
        "updates": found.updates,
        "held_back": found.held_back,
        "command": "\n".join(map(str, how.commands)) or None,
        "commands": [one.argv for one in how.commands],
        "no_command": how.reason,
        "broken_before": [str(one) for one in found.broken_before],
        "notes": found.notes,
    }
    if checked is not None:
        document["verified"] = {
            "is_known": checked.dry_run.is_known,
            "changes": [{"name": one.name, "before": one.before, "after": one.after, "kind": one.kind}
                        for one in checked.dry_run.changes],
            "problem": checked.dry_run.problem,
            "left_out": checked.left_out,
        }  # fmt: skip
    return document


def _print_plan(found: Plan, how: InstallCommands, checked: VerifiedPlan | None = None) -> None:
    if found.updates:
        table = Table("update", "installed", "to", title="Works together", title_justify="left")
        for one in found.updates:
            is_older = is_newer(one.installed, one.target)
            table.add_row(plain(one.name), plain(one.installed), plain(one.target, "red" if is_older else "green"))
        out.print(table)
    else:
        say("There is nothing to update.")
    if found.held_back:
        table = Table("held back", "newest", "because", title_justify="left")
        for held in found.held_back:
            table.add_row(plain(held.name), plain(held.newest), plain(held.reason))
        out.print(table)
    if found.broken_before:
        say("Already broken, independently of the plan:")
        for violation in found.broken_before:
            say(f"  {violation}")
    for note in found.notes:
        say(note)
    if checked is not None:
        _print_dry_run(checked)
    if found.updates and how.commands and not (checked and checked.dry_run.problem):
        for command in how.commands:
            say_command(str(command))
    elif found.updates and how.reason is not None:
        say(how.reason)


def _print_dry_run(checked: VerifiedPlan) -> None:
    for line in checked.lines():
        is_good = line.startswith(("New", "Also", "Tried", "This environment"))
        (say if is_good else warn)(line)


def update(
    names: NamesArgument = None,
    keep_napari: KeepOption = False,
    build: BuildOption = False,
    downgrade: DowngradeOption = False,
    yes: YesOption = False,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Install the updates that work together, or only those of the packages that you name.

    Does a dry run, shows the changes, asks, and runs the environment's own tool. To go back: `napari-updates undo`. Exit
    code 1: something failed; the output shows the state of the environment.
    """
    if as_json and not yes:
        raise SettingsError("With --json, this command cannot ask you. Add --yes.")
    client, index = _fetch_index(server)
    wanted = tuple(str(canonicalize_name(name)) for name in names or ())
    for name in wanted:
        if name not in client.environment.distributions:
            raise SettingsError(f"{name} is not installed in this environment.")
        if name not in index.packages:
            raise SettingsError(f"{name} is not in the index of {client.settings.server}.")
    made = client.planner(index, keep_napari=keep_napari, only=wanted)
    found, how = made({})
    if not found.updates or how.reason is not None:
        if as_json:
            say_json(_document(found, how, None) | {"changed": []})
        else:
            _print_plan(found, how)
        raise typer.Exit(FAILURE if found.updates else DONE)
    checked = _verify(client, made, build)
    if not as_json:
        _print_plan(checked.plan, checked.how, checked)
    if checked.dry_run.problem is not None or not checked.plan.updates:
        if as_json:
            say_json(_document(checked.plan, checked.how, checked) | {"changed": []})
        raise typer.Exit(FAILURE)
    if yes and checked.dry_run.downgrades and not downgrade:
        older = ", ".join(f"{one.name} {one.before} -> {one.after}" for one in checked.dry_run.downgrades)
        raise InstallError(f"Nothing was changed: it would downgrade {older}. To allow it, pass --allow-downgrades.")
    if not yes and not _confirms("Install these updates?"):
        say("Nothing was changed. Not a terminal: pass --yes." if not is_interactive() else "Nothing was changed.")
        raise typer.Exit(FAILURE)
    outcome = install_plan(client, checked, partial(run_commands, build=build, quiet=as_json))
    if as_json:
        say_json(_document(checked.plan, checked.how, checked) | {
            "changed": [{"name": one.name, "before": one.before, "after": one.after} for one in outcome.changes],
            "missing": outcome.missing, "broken": outcome.broken, "failure": outcome.failure,
        })  # fmt: skip
    else:
        _print_outcome(outcome)
    raise typer.Exit(DONE if outcome.is_good else FAILURE)


def _confirms(question: str) -> bool:
    return is_interactive() and typer.confirm(question, default=False)


def _print_outcome(outcome: Outcome) -> None:
    for line in outcome.lines():
        (say if outcome.is_good or line.startswith("Nothing") else warn)(line)
    if outcome.changes:
        say(outcome.back.reason or "To go back: napari-updates undo" + ("" if outcome.is_good else ", or run yourself:"))
        for command in () if outcome.is_good else outcome.back.commands:
            say_command(str(command))


def undo(yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Restore the exact versions from before the last update.

    Repeat to go back further; the last five updates are kept.
    """
    if as_json and not yes:
        raise SettingsError("With --json, this command cannot ask you. Add --yes.")
    client = current_client()
    points = client.state.restore_points()
    if not points:
        raise InstallError("There is nothing to undo: `napari-updates update` has not changed this environment.")
    point = points[0]
    how = undo_commands(point, client.environment, client.install)
    if how.reason is not None:
        raise InstallError(how.reason)
    changes = undo_preview(point, client.environment)
    if not as_json:
        say(f"Undo the update of {point['at'][:16].replace('T', ' ')} UTC:")
        for one in changes:
            say(f"  {one}")
        if not how.commands:
            say("  The environment already has these versions.")
        for command in how.commands:
            say_command(str(command))
    if how.commands and not yes and not _confirms("Undo it?"):
        say("Nothing was changed. Not a terminal: pass --yes." if not is_interactive() else "Nothing was changed.")
        raise typer.Exit(FAILURE)
    failure, left = roll_back(client, point, partial(run_commands, build=True, quiet=as_json))
    is_back = not left.commands and left.reason is None
    if as_json:
        say_json({"back": is_back, "failure": failure, "versions": {one.name: one.after or "removed" for one in changes}})
    elif is_back:
        say("The earlier versions were restored. Restart napari to use them.")
    else:
        warn(f"Not everything was undone{f': {failure}' if failure else ''}. Run these commands to finish:")
        for command in left.commands:
            say_command(str(command))
    raise typer.Exit(DONE if is_back else FAILURE)
