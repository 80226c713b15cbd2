"""``check`` and ``status``: what there is to install, and how everything stands."""

from __future__ import annotations

import typer
from rich.table import Table

from napari_telemetry.api import client_here
from napari_telemetry.api import status as current_status
from napari_telemetry.cli.options import FAILURE, UPDATES, ChannelOption, JsonOption, ServerOption, print_json
from napari_telemetry.client import CheckResult
from napari_telemetry.standing import ClientStatus
from napari_telemetry.telemetry import TelemetryOutcome
from napari_telemetry.terminal import counted, out, plain, say, say_command, waiting, warn
from napari_telemetry.updates import Status, UpdateRow, summary_of
from napari_telemetry.wire import Level


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(check)
    app.command()(status)


def check(server: ServerOption = None, channel: ChannelOption = None, as_json: JsonOption = False) -> None:
    """Look for updates that your Python can install, and say how to get them.

    Exit code 0: nothing to do. 10: there are updates, or an installed release was withdrawn or is vulnerable. 3: the server
    can't be reached, and nothing is known from before.
    """
    with waiting("Asking for updates"):
        result = client_here(server, channel).client.check()
    if as_json:
        print_json(result)
    else:
        _print(result)
    raise typer.Exit(UPDATES if any(row.needs_attention for row in result.rows) else 0)


def _print(result: CheckResult) -> None:
    if result.rows:
        minor = ".".join(result.python.split(".")[:2])
        table = Table("name", "installed", f"newest for Python {minor}" if result.index_version else "newest", "note")
        for row in result.rows:
            table.add_row(plain(row.name), plain(row.installed), plain(row.latest or "none", _style_of(row)), plain(row.note))
        out.print(table)
    say(summary_of(result.rows))
    updates = [row for row in result.rows if row.needs_attention]
    for command in dict.fromkeys(row.command for row in updates if row.command):
        say_command(command)
    for row in updates:
        if row.no_command:
            say(f"{row.name}: {row.no_command}")
    if result.notice:
        warn(result.notice)
    _print_telemetry(result.telemetry)


def _style_of(row: UpdateRow) -> str:
    if row.withdrawn is not None or row.vulnerabilities:
        return "red"
    return "green" if row.status is Status.UPDATE else ""


def _print_telemetry(telemetry: TelemetryOutcome) -> None:
    if telemetry.receipt is not None:
        receipt = telemetry.receipt
        state = f"stored as revision {receipt.revision}" if receipt.stored else f"not stored: {receipt.reason}"
        left_out = receipt.left_out.plugins + receipt.left_out.commands
        say(
            f"Telemetry, level {telemetry.level}, {telemetry.week}: {state}"
            + (f"; {left_out} entries left out" if left_out else "")
            + ". `napari-updates sent` shows what."
        )
    if telemetry.reason and telemetry.is_restricted:
        warn(telemetry.reason)


def status(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Show what is in force and why, what waits to be sent, and what is wrong. Sends nothing and writes nothing.

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
        say(f"You can be asked about telemetry: {now.question.why.value}. `napari-updates consent ask` explains and asks.")


def _lines(now: ClientStatus) -> list[tuple[str, str]]:
    """The status in words, one subject a line."""
    lines = [("version", now.version), ("update server", now.server)]
    others = sorted(set(now.level_servers.values()) - {now.server})
    if others:
        lines.append(("telemetry goes to", ", ".join(others)))
    lines.append(("update check", f"off: {now.check_switch}" if now.check_switch else "on"))
    lines.append(("last answer", f"{now.last_check:%Y-%m-%d %H:%M} UTC" if now.last_check else "none yet"))
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
    for name, pause in now.pauses.items():
        what = "next check by itself" if name != now.service else "next report"
        failed = f", after {counted(pause.failures, 'failure')}: {pause.reason}" if pause.failures else ""
        lines.append((what, f"not before {pause.not_before:%Y-%m-%d %H:%M} UTC{failed}"))
    last = f", the last {now.last_sent:%Y-%m-%d %H:%M} UTC" if now.last_sent else ""
    lines.append(("sent and kept here", f"{counted(now.sent, 'request')}{last}"))
    lines += [("file", file.path + ("" if file.exists else " (not there: nothing was written)")) for file in now.files]
    return lines
