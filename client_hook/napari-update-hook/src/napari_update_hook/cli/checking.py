"""The ``check`` and ``status`` commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.table import Table

from napari_update_hook import __version__, seam
from napari_update_hook.cli.options import DONE, UPDATES, JsonOption, ServerOption
from napari_update_hook.client import CheckResult, UpdateClient, current_client, is_active
from napari_update_hook.terminal import out, plain, say, say_command, say_json, waiting, warn
from napari_update_hook.updates import Status, UpdateRow, counted, summary_of

AllOption = Annotated[bool, typer.Option("--all", help="Also list plugins that are not in the index.")]


def add_to(app: typer.Typer) -> None:
    app.command()(check)
    app.command()(status)


def check(server: ServerOption = None, every: AllOption = False, as_json: JsonOption = False) -> None:
    """Look for updates that work together, and show how to install them.

    Exit code 10: updates are available, or an installed release should not be used (withdrawn, vulnerable or with a
    warning). 0: there is nothing to do. 3: the server cannot be reached, and there is no earlier result.
    """
    with waiting("Asking for updates"):
        result = current_client(server).check()
    if as_json:
        say_json({**_as_document(result)})
    else:
        print_result(result, every, server)
    raise typer.Exit(UPDATES if any(row.needs_attention for row in result.rows) else DONE)


def _as_document(result: CheckResult) -> dict[str, object]:
    document = {name: getattr(result, name) for name in result.__dataclass_fields__}
    document["packages"] = document.pop("rows")
    document["plan"] = {"updates": result.plan.updates, "held_back": result.plan.held_back}
    document["commands"] = [one.argv for one in result.how.commands]
    document["command"] = "\n".join(map(str, result.how.commands)) or None
    document["no_command"] = document.pop("how").reason
    if result.next_napari is not None:
        version, verdicts = result.next_napari
        document["next_napari"] = {"version": version, "plugins": verdicts}
    return document


def print_result(result: CheckResult, every: bool, server: str | None) -> None:
    if result.rows:
        table = Table("name", "installed", "update to", "note")
        for row in result.rows:
            table.add_row(plain(row.name), plain(row.installed), plain(row.target or "", _style_of(row)), plain(row.note))
        out.print(table)
    say(summary_of(result.rows, result.unlisted, has_requirements=result.index_version is not None))
    if every:
        for name in result.unlisted:
            say(f"  {name}")
    for note in result.plan.notes:
        say(note)
    if result.plan.updates and result.how.commands:
        say("To install: napari-updates update" + (f" --server {server}" if server else ""))
        say("Or run yourself:")
        for command in result.how.commands:
            say_command(str(command))
    elif result.how.reason is not None:
        say(result.how.reason)
    if result.notice:
        warn(result.notice)


def _style_of(row: UpdateRow) -> str:
    if row.is_unsafe:
        return "red"
    return "green" if row.status is Status.UPDATE else ""


def status(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Show the server, the last result, the next check and the state folder. Sends nothing."""
    lines = status_of(current_client(server))
    if as_json:
        say_json(lines)
        return
    width = max(map(len, lines))
    for name, value in lines.items():
        say(f"{name:<{width}}  {value}")


def status_of(client: UpdateClient) -> dict[str, str]:
    settings, state, now = client.settings, client.state, client.settings.now()
    checks = state.read_check()
    fetched = [at for url, (at, _) in checks.answers.items() if url.startswith(f"{settings.server}/")]
    lines = {
        "version": __version__,
        "Python": f"{client.environment.python} ({sys.executable})",
        "server": settings.server,
        "update check": f"off: {settings.disabled_by}" if settings.disabled_by else "on",
        "last answer": f"{max(fetched):%Y-%m-%d %H:%M} UTC" if fetched else "none yet",
    }
    if checks.pause is not None and is_active(checks.pause, now):
        failed = f", after {counted(checks.pause.failures, 'failure')}: {checks.pause.reason}" if checks.pause.failures else ""
        lines["next check in napari"] = f"not before {checks.pause.not_before:%Y-%m-%d %H:%M} UTC{failed}"
    lines["notifications"] = "on" if state.notifications_enabled() else "off"
    snoozed = [one for one in state.snoozes() if one.until is None or now < one.until]
    lines["snoozed or ignored"] = ", ".join(f"{one.name} {one.version}" for one in snoozed) or "none"
    lines["restore points"] = str(len(state.restore_points()))
    lines["state"] = str(state.folder) if state.folder is not None else "not saved: this account has no home folder"
    if (left := seam.leftover_notice(state)) is not None:
        lines["usage reports"] = f"napari-telemetry is not installed, so none are sent. {left}"
    elif state.read_telemetry():
        lines["usage reports"] = "managed by napari-telemetry; see `napari-telemetry status`"
    return lines
