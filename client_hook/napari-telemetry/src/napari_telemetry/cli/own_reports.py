"""``preview``, ``sent``, ``id``, ``server-copy``, ``forget``: a person and their own reports."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from napari_telemetry.api import Here, client_here
from napari_telemetry.cli.options import FAILURE, JsonOption, ServerOption, print_json
from napari_telemetry.errors import StateError
from napari_telemetry.formatting import pretty, pretty_json
from napari_telemetry.own_data import Forgotten, forget, own_ids, server_copy
from napari_telemetry.terminal import counted, err, is_interactive, out, plain, say, waiting, warn
from napari_telemetry.wire import Level

REQUEST_DEADLINE_S = 9.0

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]
LevelOption = Annotated[
    Level | None, typer.Option("--level", help="Show an example at this level instead, before you agree to anything.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(preview)
    app.command()(sent)
    app.command("id")(show_ids)
    app.command("server-copy")(show_server_copy)
    app.command("forget")(forget_all)


def preview(server: ServerOption = None, level: LevelOption = None, as_json: JsonOption = False) -> None:
    """Print exactly the JSON that the next check would send. Nothing is sent. With --json, byte for byte."""
    here = client_here(server)
    if level is Level.NONE:
        say("At level none, nothing is sent.")
        return
    if level is not None:
        warn(
            f"An example of level {level}, with an identifier that nobody has. "
            "The server's public lists decide what stays in it."
        )
        _print_body(here.client.example(level), as_json)
        return
    with waiting("Fetching the public lists"):
        prepared = here.client.preview()
    if prepared is not None:
        _print_body(prepared.body, as_json)
        return
    decision = here.client.decision()
    warn(f"Nothing would be sent. {decision.reason or 'The server has everything of this week.'}")


def sent(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Show what was sent from this environment: each request's JSON, its time, and the server's receipt.

    It is kept for as long as a server can have it, 60 days after its week began.
    """
    batches = client_here(server).store.sendings.sent()
    if as_json:
        print_json(batches)
        return
    if not batches:
        say("Nothing was sent from this environment in the last 60 days.")
    for batch in batches:
        at = f"{batch.at:%Y-%m-%d %H:%M:%S} UTC"
        out.print(plain(f"{at}  {batch.week}  level {batch.level}  {batch.server or batch.service}", "bold"))
        _print_body(batch.request.encode(), as_json=False)
        say(f"Receipt: {batch.receipt or 'no answer came; the server may have it or not'}")
        out.print()


def show_ids(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Show under which pseudonyms your reports go, and how they are made."""
    here = client_here(server)
    ids = own_ids(here.settings, here.store)
    if as_json:
        print_json(ids)
        return
    if ids.identifier is None:
        say("You have none: the secret from which they are made exists only while an environment has your consent.")
    else:
        _, account = here.store.files
        say(f"Identifier in {ids.week} at {ids.service}: {ids.identifier}")
        say(f"Environment in {ids.week}: {ids.environment}")
        say(
            "How they are made: HMAC-SHA256 of the server's address and the week, each behind its length in four bytes, with a "
            "random secret of 32 bytes; the first 32 hexadecimal digits. The environment: the same of the week alone, with a "
            "secret of the environment; the first 8 digits."
        )
        say(f"The secret lies in {account.path} and never leaves this computer.")
        say("Without it, nothing that a server stores ties two weeks together; a rare combination of plugins still may.")
    if ids.sent:
        table = Table("week", "level", "server", "identifier")
        for one in ids.sent:
            table.add_row(one.week, one.level.value, plain(one.server or one.service), one.identifier)
        say("A server may hold reports of these:")
        out.print(table)


def show_server_copy(server: ServerOption = None, as_json: JsonOption = False) -> None:
    """Ask the servers what they hold of you, and print it. One request for each week's identifier."""
    here = client_here(server)
    with waiting("Asking what is stored"):
        copies = server_copy(here.settings, here.store, REQUEST_DEADLINE_S)
    if as_json:
        print_json(copies)
    else:
        if not copies:
            say("No server can hold anything of you: nothing was sent in the last 60 days.")
        for copy in copies:
            at = copy.asked.server or copy.asked.service
            out.print(plain(f"{copy.asked.week} at {at}: {counted(len(copy.reports), 'report')}", "bold"))
            for report in copy.reports:
                out.print(pretty(report.report), markup=False, soft_wrap=True)
            if copy.problem:
                warn(copy.problem)
    if any(copy.problem for copy in copies):
        raise typer.Exit(FAILURE)


def forget_all(server: ServerOption = None, yes: YesOption = False, as_json: JsonOption = False) -> None:
    """Delete all reports that servers hold of you, and their copies here; send nothing more for those weeks.

    It holds for every environment of your account, also after consent was withdrawn. Without an answer to its question, or
    --yes, nothing happens. Exit code 1: something could not be deleted; run it again later.
    """
    here = client_here(server)
    if not yes and not _agrees("Delete all your reports, on the servers and here?"):
        say("Nothing was deleted. With --yes it does not ask.")
        raise typer.Exit(FAILURE)
    _forget(here, as_json)


def offer_to_forget(server: str | None) -> None:
    """After consent was withdrawn: offer to delete what servers still hold."""
    here = client_here(server)
    try:
        weeks = sorted({one.week for one in here.store.sendings.identifiers()})
    except StateError as error:
        warn(str(error))
        return
    if not weeks:
        return
    say(f"Servers may still hold your reports of {', '.join(weeks)}. They are deleted 60 days after their week began.")
    if is_interactive() and _agrees("Delete them now?"):
        _forget(here, as_json=False)
    else:
        say("To delete them now: napari-telemetry forget")


def _agrees(question: str) -> bool:
    return is_interactive() and typer.confirm(question, default=False)


def _forget(here: Here, as_json: bool) -> None:
    with err.status("Deleting") as shown:
        done = forget(here.settings, here.store, REQUEST_DEADLINE_S, progress=lambda text: shown.update(plain(text)))
    if as_json:
        print_json(done)
    else:
        _print_forgotten(done)
    if done.problems:
        raise typer.Exit(FAILURE)


def _print_forgotten(done: Forgotten) -> None:
    for server, count in done.on_servers.items():
        say(f"Deleted at {server}: {counted(count, 'report')}.")
    say(f"Deleted here: {counted(done.requests, 'kept request')}, {counted(done.weeks, 'collected week')}.")
    for service, weeks in done.stopped.items():
        say(f"Nothing more is sent to {service} for {', '.join(weeks)}.")
    say("Later weeks follow your consent: napari-telemetry consent show")
    for problem in done.problems:
        warn(f"Not deleted: {problem}")
    if done.problems:
        warn("Run `napari-telemetry forget` again later; what could not be deleted is remembered.")


def _print_body(body: bytes, as_json: bool) -> None:
    text = body.decode() if as_json else pretty_json(body)
    out.print(text, markup=False, soft_wrap=True)
