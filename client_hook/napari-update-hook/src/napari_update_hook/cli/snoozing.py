"""The ``snooze``, ``ignore`` and ``unsnooze`` commands."""

from __future__ import annotations

from typing import Annotated

import typer
from packaging.utils import canonicalize_name
from rich.table import Table

from napari_update_hook.cli.options import FAILURE, JsonOption
from napari_update_hook.client import current_client
from napari_update_hook.errors import SettingsError
from napari_update_hook.state import EVERY_VERSION, Snooze, parsed_duration
from napari_update_hook.terminal import out, plain, say, say_json, warn
from napari_update_hook.versions import parsed

NameArgument = Annotated[str, typer.Argument(help="The package, such as affinder.")]
VersionArgument = Annotated[str, typer.Argument(help="The version to skip. Default: every version")]


def add_to(app: typer.Typer) -> None:
    app.command()(snooze)
    app.command()(ignore)
    app.command()(unsnooze)


def snooze(
    name: Annotated[str | None, typer.Argument(help="The package, such as affinder. Without it, list all snoozes.")] = None,
    version: VersionArgument = EVERY_VERSION,
    duration: Annotated[str, typer.Option("--for", help="For how long: 21d, 12w, 3m.")] = "21d",
    as_json: JsonOption = False,
) -> None:
    """Skip an update for a while: napari-updates snooze affinder 0.6.0 --for 21d"""
    if name is None:
        _list(as_json)
        return
    try:
        length = parsed_duration(duration)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    here = current_client()
    _add(Snooze(canonicalize_name(name), _checked_version(version), here.settings.now() + length), as_json)


def ignore(name: NameArgument, version: VersionArgument = EVERY_VERSION, as_json: JsonOption = False) -> None:
    """Skip an update forever: napari-updates ignore affinder 0.6.0"""
    _add(Snooze(canonicalize_name(name), _checked_version(version)), as_json)


def unsnooze(name: NameArgument, as_json: JsonOption = False) -> None:
    """Offer the updates of a package again."""
    removed = current_client().state.unsnooze(canonicalize_name(name))
    if as_json:
        say_json({"removed": removed})
    elif removed:
        say(f"Updates of {name} are offered again.")
    if removed:
        return
    warn(f"{name} was not snoozed.")
    raise typer.Exit(FAILURE)


def _checked_version(text: str) -> str:
    if text == EVERY_VERSION:
        return text
    if (version := parsed(text)) is None:
        raise SettingsError(f"{text!r} is not a version. To give a duration, use --for: snooze affinder 0.6.0 --for 21d")
    return str(version)


def _add(snoozed: Snooze, as_json: bool) -> None:
    here = current_client()
    if snoozed.name not in here.environment.distributions:
        warn(f"{snoozed.name} is not installed in this environment. The snooze is saved anyway.")
    here.state.snooze(snoozed)
    if as_json:
        say_json(snoozed)
        return
    say(f"{_subject(snoozed)} is skipped{_until_text(snoozed)}. To undo: `napari-updates unsnooze {snoozed.name}`")


def _list(as_json: bool) -> None:
    here = current_client()
    snoozes = here.state.snoozes()
    if as_json:
        say_json(snoozes)
        return
    if not snoozes:
        say("No updates are snoozed.")
        return
    table = Table("name", "version", "until")
    for one in snoozes:
        over = one.until is not None and one.until <= here.settings.now()
        until = f"{one.until:%Y-%m-%d}" + (" (expired)" if over else "") if one.until else "forever"
        table.add_row(plain(one.name), "every" if one.version == EVERY_VERSION else plain(one.version), until)
    out.print(table)


def _subject(snoozed: Snooze) -> str:
    return f"Every update of {snoozed.name}" if snoozed.version == EVERY_VERSION else f"{snoozed.name} {snoozed.version}"


def _until_text(snoozed: Snooze) -> str:
    return f" until {snoozed.until:%Y-%m-%d}" if snoozed.until else ""
