"""``snooze``, ``ignore``, ``unsnooze``: updates that a person does not want to hear of."""

from __future__ import annotations

from typing import Annotated

import typer
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from rich.table import Table

from napari_telemetry.api import client_here
from napari_telemetry.cli.options import FAILURE, JsonOption, print_json
from napari_telemetry.decision import parsed_duration
from napari_telemetry.errors import SettingsError
from napari_telemetry.state.snoozes import EVERY_VERSION, Snooze
from napari_telemetry.terminal import out, plain, say, warn

NameArgument = Annotated[str, typer.Argument(help="The package, such as affinder.")]
VersionArgument = Annotated[str, typer.Argument(help="The version not to hear of. Default: every version")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(snooze)
    app.command()(ignore)
    app.command()(unsnooze)


def snooze(
    name: Annotated[str | None, typer.Argument(help="The package, such as affinder. Without it, list what is snoozed.")] = None,
    version: VersionArgument = EVERY_VERSION,
    duration: Annotated[str, typer.Option("--for", help="For how long: 21d, 12w, 3m.")] = "21d",
    as_json: JsonOption = False,
) -> None:
    """Do not hear of an update for a while: napari-updates snooze affinder 0.6.0 --for 21d"""
    if name is None:
        _list(as_json)
        return
    try:
        length = parsed_duration(duration)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    here = client_here()
    _add(Snooze(canonicalize_name(name), _checked_version(version), here.settings.now() + length), as_json)


def ignore(name: NameArgument, version: VersionArgument = EVERY_VERSION, as_json: JsonOption = False) -> None:
    """Never hear of an update: napari-updates ignore affinder 0.6.0"""
    _add(Snooze(canonicalize_name(name), _checked_version(version)), as_json)


def unsnooze(name: NameArgument, as_json: JsonOption = False) -> None:
    """Hear of updates of a package again."""
    removed = client_here().store.snoozes.remove(canonicalize_name(name))
    if as_json:
        print_json({"removed": removed})
    elif removed:
        say(f"You will hear of updates of {name} again.")
    if removed:
        return
    warn(f"{name} was not snoozed.")
    raise typer.Exit(FAILURE)


def _checked_version(text: str) -> str:
    if text == EVERY_VERSION:
        return text
    try:
        return str(Version(text))
    except InvalidVersion as error:
        raise SettingsError(f"{text!r} is no version. For a time, write --for: snooze affinder 0.6.0 --for 21d") from error


def _add(snoozed: Snooze, as_json: bool) -> None:
    here = client_here()
    if snoozed.name not in here.client.environment.distributions:
        warn(f"{snoozed.name} is not installed in this environment. It is noted all the same.")
    here.store.snoozes.add(snoozed)
    if as_json:
        print_json(snoozed)
        return
    say(f"You will not hear of {_what(snoozed)} {_how_long(snoozed)}. `napari-updates unsnooze {snoozed.name}` undoes it.")


def _list(as_json: bool) -> None:
    here = client_here()
    snoozes = here.store.snoozes.all()
    if as_json:
        print_json(snoozes)
        return
    if not snoozes:
        say("Nothing is snoozed.")
        return
    table = Table("name", "version", "until")
    for one in snoozes:
        over = one.until is not None and one.until <= here.settings.now()
        until = f"{one.until:%Y-%m-%d}" + (" (over)" if over else "") if one.until else "for ever"
        table.add_row(plain(one.name), "every" if one.version == EVERY_VERSION else plain(one.version), until)
    out.print(table)


def _what(snoozed: Snooze) -> str:
    return f"updates of {snoozed.name}" if snoozed.version == EVERY_VERSION else f"{snoozed.name} {snoozed.version}"


def _how_long(snoozed: Snooze) -> str:
    return f"until {snoozed.until:%Y-%m-%d}" if snoozed.until else "any more"
