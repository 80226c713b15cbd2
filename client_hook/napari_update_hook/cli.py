"""The command ``napari-updates``: what it prints, and the exit codes 0 done, 1 failure, 2 usage, 3 no server, 10 updates."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from napari_update_hook import __version__
from napari_update_hook.check import CheckResult, UpdateClient
from napari_update_hook.consent import parsed_duration
from napari_update_hook.environment import read_environment
from napari_update_hook.errors import ServerUnreachableError, SettingsError, UpdateHookError
from napari_update_hook.settings import settings_from
from napari_update_hook.store import ClientStore, environment_name
from napari_update_hook.terminal import fail, out, plain, say, warn
from napari_update_hook.updates import Status
from napari_update_hook.wire import Level

FAILURE, USAGE, UNREACHABLE, UPDATES = 1, 2, 3, 10

app = typer.Typer(
    help="See which updates of napari and its plugins your Python can install. Nothing about you or what you have installed "
    "is sent, unless you agreed to telemetry: `napari-updates consent --help`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
consent_app = typer.Typer(
    help="Say what may be sent: none, basic, middle or full. Where nobody answers, nothing is.", no_args_is_help=True
)
app.add_typer(consent_app, name="consent")

ServerOption = Annotated[
    str | None,
    typer.Option("--server", help="Address of the update server. Default: NAPARI_UPDATE_SERVER, else https://api.napari.org"),
]
ChannelOption = Annotated[
    str | None,
    typer.Option("--channel", help="Where your packages come from: pypi or conda-forge. Default: as it looks here"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options of the command itself; each acts by its callback."""


def _client(server: str | None, channel: str | None = None) -> UpdateClient:
    settings = settings_from(os.environ, server)
    environment = read_environment()
    if channel is not None:
        if channel not in ("pypi", "conda-forge"):
            raise SettingsError(f"{channel!r} is no channel: choose pypi or conda-forge")
        environment = msgspec.structs.replace(environment, channel=channel)
    return UpdateClient(settings, ClientStore(settings.state, environment_name(Path(sys.prefix))), environment)


@app.command()
def check(server: ServerOption = None, channel: ChannelOption = None, as_json: JsonOption = False) -> None:
    """Look for updates. Exit code 0: all up to date, 10: there are updates, 3: the server can't be reached."""
    result = _client(server, channel).check()
    if as_json:
        out.print_json(json.dumps(_as_json(result)))
    else:
        _print(result)
    if any(row.status is Status.UPDATE for row in result.rows):
        raise typer.Exit(UPDATES)


def _print(result: CheckResult) -> None:
    if result.rows:
        table = Table("name", "installed", f"newest for Python {'.'.join(result.python.split('.')[:2])}", "note")
        for row in result.rows:
            latest = plain(row.latest or "none", "green" if row.status is Status.UPDATE else "")
            table.add_row(plain(row.name), plain(row.installed), latest, plain(row.note))
        out.print(table)
        updates = sum(row.status is Status.UPDATE for row in result.rows)
        told = {0: "Everything is up to date.", 1: "There is 1 update."}.get(updates, f"There are {updates} updates.")
        say(told)
    else:
        say("Neither napari nor a plugin of the index is installed in this environment.")
    if result.notice:
        warn(result.notice)
    telemetry = result.telemetry
    if telemetry.receipt is not None:
        receipt = telemetry.receipt
        state = f"stored as revision {receipt.revision}" if receipt.stored else f"not stored: {receipt.reason}"
        left_out = receipt.left_out.plugins + receipt.left_out.commands
        say(f"Telemetry, level {telemetry.level}: {state}" + (f"; {left_out} entries left out" if left_out else "") + ".")
    if telemetry.reason and telemetry.is_restricted:
        warn(telemetry.reason)


def _as_json(result: CheckResult) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(result)
    plain["packages"] = plain.pop("rows")
    return plain


@app.command()
def preview(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Print exactly the JSON that the next check would send. Nothing is sent. With --json, byte for byte."""
    client = _client(server)
    body = client.preview()
    if body is None:
        warn(f"Nothing would be sent. {client.decision().reason}")
        return
    text = body.decode() if as_json else json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    out.print(text, markup=False, soft_wrap=True)


@consent_app.command("set")
def consent_set(
    level: Annotated[Level, typer.Argument(help="none, basic, middle or full")],
    server: ServerOption = None,
    duration: Annotated[
        str | None, typer.Option("--for", help="For how long: 90d, 12w, 3m. Default: until you change it.")
    ] = None,
) -> None:
    """Record your answer. It holds for this environment and this server alone. Nothing is sent by it."""
    client = _client(server)
    try:
        until = None if duration is None else _now(server) + parsed_duration(duration)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    record = client.set_consent(level, until=until, means="napari-updates consent set")
    if level is Level.NONE:
        say(f"Nothing will be sent to {record.service}.")
        return
    ends = f" until {record.until:%Y-%m-%d}" if record.until else ""
    say(f"You agreed to level {level} for {record.service}{ends}. Nothing has been sent yet.")
    say("`napari-updates preview` shows what the next check sends.")
    if (reason := client.decision().reason) is not None:
        warn(reason)


def _now(server: str | None) -> Any:
    return settings_from(os.environ, server).now()


@consent_app.command("show")
def consent_show(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Show your answers in this environment, and what is in force now."""
    settings = settings_from(os.environ, server)
    client = _client(server)
    history = ClientStore(settings.state, environment_name(Path(sys.prefix))).consent_history()
    decision = client.decision()
    if as_json:
        out.print_json(
            json.dumps({"level": decision.level, "reason": decision.reason, "history": msgspec.to_builtins(history)})
        )
        return
    say(f"In force for {settings.service}: level {decision.level}." + (f" {decision.reason}" if decision.reason else ""))
    if history:
        table = Table("when", "level", "for", "until", "by")
        for record in history:
            until = f"{record.until:%Y-%m-%d}" if record.until else "changed"
            table.add_row(f"{record.at:%Y-%m-%d %H:%M}", record.level.value, record.service, until, plain(record.means))
        out.print(table)


def main() -> None:
    """Run the command; every foreseen error is one sentence and an exit code."""
    try:
        app()
    except ServerUnreachableError as error:
        fail(str(error))
        sys.exit(UNREACHABLE)
    except SettingsError as error:
        fail(str(error))
        sys.exit(USAGE)
    except UpdateHookError as error:
        fail(str(error))
        sys.exit(FAILURE)


if __name__ == "__main__":
    main()
