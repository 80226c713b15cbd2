"""The ``napari-telemetry`` command."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer
from napari_update_hook import offer
from napari_update_hook.cli.options import FAILURE, JsonOption, ServerOption, YesOption, new_app, run_app
from napari_update_hook.errors import SettingsError
from napari_update_hook.installers import detect_install
from napari_update_hook.state import parsed_duration
from napari_update_hook.terminal import is_interactive, out, plain, plain_lines, say, say_command, say_json, waiting, warn

from napari_telemetry import __version__, words
from napari_telemetry.client import TelemetryClient, current_client
from napari_telemetry.consent_rules import changes_since
from napari_telemetry.sending import run
from napari_telemetry.transport import Transport
from napari_telemetry.wire import MEANING, SCHEMA_VERSION, TELEMETRY_LEVELS, Level

DEADLINE_S = 9.0
app = new_app(
    __version__,
    "Weekly usage reports for napari's maintainers, sent with an update check and only with your consent.\n\nNothing is "
    "sent unless you agree: `napari-telemetry consent --help`.",
    "0 success, 1 failure, 2 usage error, 3 the server cannot be reached",
)
consent_app = typer.Typer(help="Choose what may be sent: none, basic, middle or full. Nothing is sent until you agree.",
                          no_args_is_help=True)  # fmt: skip
app.add_typer(consent_app, name="consent")
ForOption = Annotated[str | None, typer.Option("--for", help="How long: 90d, 12w, 3m. Default: until you change it.")]
LevelOption = Annotated[
    Level | None, typer.Option("--level", help="Show an example at this level, before you agree to anything.")
]


@app.command()
def status(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Show the effective level and the reason for it, the next report, and problems. Sends and writes nothing.

    Exit code 1: the state file has a problem; the output says what to do.
    """
    client = current_client(server)
    now = client.status(check_health=True)
    if as_json:
        say_json({
            "version": __version__, "server": now.settings.server, "service": now.settings.service,
            "level": now.decision.level, "reason": now.decision.reason, "consent": _to_builtins(now.view.consent),
            "prompt": _to_builtins(now.prompt), "takes_reports": now.takes_reports, "next_report": words.next_report(now),
            "weeks": [{"week": one.week, "level": one.level, "is_unsent": one.is_unsent, "rejected": one.rejected}
                      for one in now.view.drafts],
            "backoff": _to_builtins(now.view.backoff), "sent": len(now.view.sent), "forgotten": now.view.forgotten,
            "deletions": [{"week": week, "server": at} for week, at, _ in now.view.deletions],
            "file": str(client.store.path), "problem": now.problem,
        })  # fmt: skip
    else:
        for name, value in [("Version", __version__), *words.lines(now), ("File", _file_text(client))]:
            out.print(plain(f"{name}: ", "bold") + plain(value), soft_wrap=not out.is_terminal)
        if now.prompt is not None and now.takes_reports is not False:
            say("To see what each level sends, and to answer: napari-telemetry consent ask")
    raise typer.Exit(FAILURE if now.problem else 0)


def _file_text(client: TelemetryClient) -> str:
    return f"{client.store.path}{'' if client.store.exists else ' (not created yet)'}"


@consent_app.command()
def ask(server: ServerOption = None, duration: ForOption = None) -> None:
    """Explain the levels, show what each would send, and ask. Nothing is sent unless you agree."""
    client = current_client(server)
    now = client.status()
    if (opt_out := client.settings.opt_out()) is not None:
        warn(f"Telemetry stays off, whatever you answer: {opt_out}.")
        return
    out.print(plain(words.TITLE, "bold"))
    for paragraph in words.introduction(client.settings.service, now.prompt, now.takes_reports):
        say(paragraph)
    if now.takes_reports is False:
        return
    for level in Level:
        out.print(plain(f"{level}: ", "bold") + plain(MEANING[level]))
    say(words.ABOUT_EXAMPLES if now.takes_reports else words.NO_TABLE)
    for level in TELEMETRY_LEVELS:
        out.print(plain(f"\nAt level {level}:", "bold"))
        _print_body(client.example(level))
    if not is_interactive():
        say("To answer: napari-telemetry consent set none, basic, middle or full")
        return
    client.claim_prompt()  # unanswered, napari asks again in 30 days
    answer = typer.prompt("none, basic, middle or full? Press Enter to decide later", default="", show_default=False).strip()
    if not answer:
        say("Nothing is sent. You can answer at any time: napari-telemetry consent set LEVEL")
        return
    try:
        level = Level(answer.lower())
    except ValueError as error:
        raise SettingsError(f"{answer!r} is not a level. Choose none, basic, middle or full. Nothing was recorded.") from error
    _set(client, level, duration, "napari-telemetry consent ask")


@consent_app.command("set")
def set_level(
    level: Annotated[Level, typer.Argument(help="none, basic, middle or full")],
    server: ServerOption = None,
    duration: ForOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record your answer for this environment and server. Sends nothing."""
    _set(current_client(server), level, duration, "napari-telemetry consent set", as_json)


@app.command()
def off(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Withdraw your consent, so that nothing more is sent. Same as: consent set none"""
    _set(current_client(server), Level.NONE, None, "napari-telemetry off", as_json)


def _set(client: TelemetryClient, level: Level, duration: str | None, means: str, as_json: bool = False) -> None:
    try:
        lasting = parsed_duration(duration) if duration is not None else None
    except ValueError as error:
        raise SettingsError(str(error)) from error
    record = client.set_consent(level, lasting=lasting, means=means)
    now = client.status()
    if as_json:
        say_json(_to_builtins(record))
    elif level is Level.NONE:
        say(f"Nothing is sent to {record.service} from now on.")
        _offer_to_forget(client)
        how = offer.how_to_uninstall(detect_install(), client.environment)
        say(words.REMOVE + (f" {how.reason}" if how.reason else ""))
        for command in how.commands:
            say_command(str(command))
    else:
        say(f"Recorded: {words.answer_text(record)}. Nothing has been sent yet.")
        say("To see what the next check sends: napari-telemetry preview. To withdraw your consent: napari-telemetry off")
        if now.decision.reason is not None:
            warn(now.decision.reason)


@consent_app.command()
def show(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Show your answers for this environment, and the effective level."""
    now = current_client(server).status()
    if as_json:
        say_json({"level": now.decision.level, "reason": now.decision.reason, "history": _to_builtins(now.view.history)})
        return
    say(words.sentence(now))
    for record in now.view.history:
        say(f"  {words.answer_text(record)}")


@consent_app.command()
def difference(
    since: Annotated[
        int | None, typer.Option("--since", help="Schema version to compare with. Default: the agreed version.", min=0)
    ] = None,
    server: ServerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the fields that were added since you answered. With --since 0, show every field."""
    record = current_client(server).status().view.consent
    version = since if since is not None else (record.schema_version if record else 0)
    changes = changes_since(version)
    if as_json:
        say_json({"from": version, "to": SCHEMA_VERSION, "changes": _to_builtins(changes)})
        return
    if not changes:
        say(f"No fields were added (schema version {SCHEMA_VERSION}).")
    for change in changes:
        say(change.sentence)


@app.command()
def preview(server: ServerOption = None, level: LevelOption = None, as_json: JsonOption = False) -> None:
    """Print the JSON that the next check would send, without sending it. With --json, print the exact bytes."""
    client = current_client(server)
    if level is Level.NONE:
        say_json(None) if as_json else say(MEANING[level])
    elif level is not None:
        warn(words.ABOUT_EXAMPLES if client.takes_reports() is not None else words.NO_TABLE)
        _print_body(client.example(level), as_json)
    else:
        with waiting("Fetching the public lists"), Transport(DEADLINE_S) as transport:
            prepared = run(client.preview_steps(), transport.exchange)
        if prepared is not None:
            _print_body(prepared.body, as_json)
        else:
            now = client.status()
            warn(f"Nothing would be sent. {now.decision.reason or f'Next report: {words.next_report(now)}.'}")


@app.command()
def sent(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Show what was sent from this environment: JSON, time and receipt of each request.

    The log is kept as long as servers may store the reports: 60 days from the start of the week.
    """
    batches = current_client(server).status().view.sent
    if as_json:
        say_json(_to_builtins(batches))
    else:
        out.print(plain_lines(words.sent_text(batches)), soft_wrap=True)


@app.command("id")
def show_ids(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Show your pseudonyms and how they are computed."""
    now = current_client(server).status()
    if as_json:
        known = [{"week": one.week, "level": one.level, "server": one.server, "identifier": one.identifier}
                 for one in now.view.identifiers]  # fmt: skip
        say_json({"service": now.settings.service, "week": now.week, "identifier": now.identifier,
                  "environment": now.environment, "sent": known})  # fmt: skip
    else:
        out.print(plain_lines(words.ids_text(now)), soft_wrap=not out.is_terminal)


@app.command("server-copy")
def server_copy(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Show which reports the servers store. Sends one request for each weekly identifier."""
    with waiting("Asking the servers"), Transport(DEADLINE_S) as transport:
        copies = run(current_client(server).server_copies(), transport.exchange)
    if as_json:
        say_json(_to_builtins(copies))
    else:
        out.print(plain_lines(words.copies_text(copies)), soft_wrap=True)
    raise typer.Exit(FAILURE if any(copy.problem for copy in copies) else 0)


@app.command()
def forget(server: ServerOption = None, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Delete all your reports, on the servers and on this computer, and send nothing more for those weeks.

    Applies to all environments of your account, even without consent. Exit code 1: some could not be deleted yet.
    """
    if not yes and not (is_interactive() and typer.confirm(words.FORGET, default=False)):
        say("Nothing was deleted." + ("" if is_interactive() else " Not a terminal: pass --yes."))
        raise typer.Exit(FAILURE)
    _forget(current_client(server), as_json)


def _forget(client: TelemetryClient, as_json: bool = False) -> None:
    with waiting("Deleting"), Transport(DEADLINE_S) as transport:
        done = run(client.forget(), transport.exchange)
    if as_json:
        say_json(_to_builtins(done))
    else:
        say(words.forgotten_text(done))
    if done.problems:
        raise typer.Exit(FAILURE)


def _offer_to_forget(client: TelemetryClient) -> None:
    weeks = sorted({one.week for one in client.status().view.identifiers})
    if not weeks:
        return
    say(f"Servers may still store your reports for {', '.join(weeks)}. Each is deleted 60 days after its week began.")
    if is_interactive() and typer.confirm("Delete them now?", default=False):
        _forget(client)
    else:
        say("To delete them now: napari-telemetry forget")


def _print_body(body: bytes, as_json: bool = False) -> None:
    out.print(plain_lines(body.decode() if as_json else words.pretty_json(body)), soft_wrap=True)


def _to_builtins(value: Any) -> Any:
    return msgspec.to_builtins(value, str_keys=True)


def main() -> None:
    run_app(app)
