"""``status``: the effective level and why, pending reports, problems with advice."""

from __future__ import annotations

import typer
from rich.table import Table

from napari_telemetry.api import status as current_status
from napari_telemetry.cli.options import FAILURE, JsonOption, ServerOption, print_json
from napari_telemetry.standing import ClientStatus
from napari_telemetry.terminal import counted, out, plain, say, warn
from napari_telemetry.wire import Level


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Show the effective level and why, pending reports, and problems. Sends nothing and writes nothing.

    Exit code 1: something is wrong with the files of this program, and it says what to do.
    """
    now = current_status(server=server)
    if as_json:
        print_json(now)
    else:
        _print_status(now)
    raise typer.Exit(FAILURE if now.problems else 0)


def _print_status(now: ClientStatus) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a path must be whole
    for name, value in _lines(now):
        table.add_row(plain(name, "bold"), plain(value))
    out.print(table)
    for problem in now.problems:
        warn(problem)
    if now.question is not None:
        say(f"You can be asked about telemetry: {now.question.why.value}. `napari-telemetry consent ask` explains and asks.")


def _lines(now: ClientStatus) -> list[tuple[str, str]]:
    """The status in words, one subject a line."""
    lines = [("version", now.version), ("update server", now.server)]
    others = sorted(set(now.level_servers.values()) - {now.server})
    if others:
        lines.append(("telemetry goes to", ", ".join(others)))
    lines.append(("telemetry", f"level {now.level}" + (f" ({now.reason})" if now.reason else "")))
    if now.switch:
        lines.append(("switched off by", now.switch))
    if now.consent is not None:
        until = f" until {now.consent.until:%Y-%m-%d}" if now.consent.until else ""
        answer = f"{now.consent.level} for {now.consent.service}{until}, given {now.consent.at:%Y-%m-%d %H:%M} UTC"
        lines.append(("your answer", f"{answer} by {now.consent.means}"))
    if now.site_files:
        lines.append(("administrator's file", ", ".join(now.site_files)))
    for week in now.weeks:
        state = "not sent yet" if week.is_unsent else "sent"
        kinds = f", {counted(week.counted, 'kind')} of commands and layers counted" if week.level is Level.FULL else ""
        lines.append((week.week, f"level {week.level}, {state}{kinds}" + (f". {week.refused}" if week.refused else "")))
    if now.forgotten:
        lines.append(("forgotten", f"{', '.join(now.forgotten)}: nothing more is sent for these weeks"))
    if (pause := now.pause) is not None:
        failed = f", after {counted(pause.failures, 'failure')}: {pause.reason}" if pause.failures else ""
        lines.append(("next report", f"not before {pause.not_before:%Y-%m-%d %H:%M} UTC{failed}"))
    last = f", the last {now.last_sent:%Y-%m-%d %H:%M} UTC" if now.last_sent else ""
    lines.append(("sent and kept here", f"{counted(now.sent, 'request')}{last}"))
    lines += [("file", file.path + ("" if file.exists else " (not there: nothing was written)")) for file in now.files]
    return lines
