"""``consent``: the question, the answer, the history, and what has changed since."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.table import Table

from napari_telemetry import consent
from napari_telemetry.api import client_here
from napari_telemetry.asking import MEANING, changes_since, due_question
from napari_telemetry.cli.options import JsonOption, ServerOption, print_json
from napari_telemetry.cli.own_reports import offer_to_forget
from napari_telemetry.errors import SettingsError
from napari_telemetry.formatting import pretty_json
from napari_telemetry.switches import telemetry_switched_off
from napari_telemetry.terminal import is_interactive, out, plain, say, warn
from napari_telemetry.wire import SCHEMA_VERSION, Level

consent_app = typer.Typer(
    help="Say what may be sent: none, basic, middle or full. Where nobody answers, nothing is.", no_args_is_help=True
)
ForOption = Annotated[str | None, typer.Option("--for", help="For how long: 90d, 12w, 3m. Default: until you change it.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    consent_app.command("ask")(ask)
    consent_app.command("set")(set_level)
    consent_app.command("show")(show)
    consent_app.command("difference")(difference)
    app.add_typer(consent_app, name="consent")


def ask(server: ServerOption = None) -> None:
    """Explain the levels, show exactly what each would send from here, and ask. No answer is no consent."""
    here = client_here(server)
    if (switch := telemetry_switched_off(here.settings.environ, here.settings.site)) is not None:
        warn(f"Telemetry is off whatever you answer: {switch}.")
        return
    question = due_question(here.store.consents.current(), [], here.settings, here.settings.now())
    say(f"May this environment send a weekly report to {here.settings.service}?")
    say("Public numbers come of it: counts of people, never fewer than ten. It is deleted 60 days after its week began.")
    for change in question.changes if question else []:
        say(f"New since you answered: {change.sentence}")
    for level in Level:
        out.print()
        out.print(plain(f"{level.value}:", "bold"), plain(MEANING[level]))
        if level is not Level.NONE:
            out.print(pretty_json(here.client.example(level)), markup=False, soft_wrap=True)
    out.print()
    if not is_interactive():
        say("To answer: napari-telemetry consent set none, basic, middle or full.")
        return
    here.store.consents.note_asking(here.settings.now())
    answer = typer.prompt("none, basic, middle or full? Enter alone leaves it open", default="", show_default=False)
    if not answer.strip():
        say("Nothing is sent. You can answer at any time: napari-telemetry consent set LEVEL")
        return
    try:
        level = Level(answer.strip().lower())
    except ValueError as error:
        raise SettingsError(f"{answer!r} is none of none, basic, middle, full. Nothing was recorded.") from error
    _set(level, server, None, "napari-telemetry consent ask")


def set_level(
    level: Annotated[Level, typer.Argument(help="none, basic, middle or full")],
    server: ServerOption = None,
    duration: ForOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record your answer. It holds for this environment and this server alone. Nothing is sent by it."""
    _set(level, server, duration, "napari-telemetry consent set", as_json)


def _set(level: Level, server: str | None, duration: str | None, means: str, as_json: bool = False) -> None:
    try:
        record = consent.record(level, lasting=duration, means=means, server=server)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    if as_json:
        print_json(record)
        return
    if level is Level.NONE:
        say(f"Nothing will be sent to {record.service}.")
        offer_to_forget(server)
        return
    ends = f" until {record.until:%Y-%m-%d}" if record.until else ""
    say(f"You agreed to level {level} for {record.service}{ends}. Nothing has been sent yet.")
    say("`napari-telemetry preview` shows what the next check sends; `napari-telemetry consent set none` ends it.")
    if (reason := consent.decision(server).reason) is not None:
        warn(reason)


def show(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Show your answers in this environment, and what is in force now."""
    here = client_here(server)
    history, decision = here.store.consents.history(), here.client.decision()
    if as_json:
        print_json({"level": decision.level, "reason": decision.reason, "history": history})
        return
    say(f"In force for {here.settings.service}: level {decision.level}." + (f" {decision.reason}" if decision.reason else ""))
    if not history:
        return
    table = Table("when", "level", "for", "until", "by")
    for record in history:
        until = f"{record.until:%Y-%m-%d}" if record.until else "changed"
        table.add_row(f"{record.at:%Y-%m-%d %H:%M}", record.level.value, plain(record.service), until, plain(record.means))
    out.print(table)


def difference(
    since: Annotated[
        int | None, typer.Option("--since", help="Schema version to compare with. Default: that of your answer.", min=0)
    ] = None,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which fields are collected now that were not when you answered. With --since 0, every field there is."""
    record = client_here(server).store.consents.current()
    version = since if since is not None else (record.schema_version if record else 0)
    changes = changes_since(version)
    if as_json:
        print_json({"from": version, "to": SCHEMA_VERSION, "changes": msgspec.to_builtins(changes)})
        return
    if not changes:
        say(f"This version collects what you agreed to, and nothing else (schema version {SCHEMA_VERSION}).")
    for change in changes:
        say(change.sentence)
