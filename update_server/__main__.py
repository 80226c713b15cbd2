"""The command ``update-server``."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from aggregation.clock import Clock
from aggregation.settings import Role, Store
from migrations import StoreError, is_current, upgrade
from update_server import __version__
from update_server.databases import db_app
from update_server.index.commands import index_app
from update_server.index.progress import show_progress
from update_server.settings import Settings
from update_server.terminal import console, errors, fail, first_line, read_settings

MAX_CONNECTIONS = 20_000
"""Maximum number of concurrent connections; each takes some kilobytes."""

log = structlog.get_logger()

app = typer.Typer(
    help="A plugin index for napari that knows which version your Python can install, with opt-in telemetry. "
    "Settings are environment variables: `update-server settings` lists them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
lists_app = typer.Typer(help="Generate the public lists for telemetry in the repository.", no_args_is_help=True)
app.add_typer(index_app, name="index")
app.add_typer(lists_app, name="lists")
app.add_typer(db_app, name="db")


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Declare the global options; their callbacks do the work."""


@app.command()
def run() -> None:
    """Start the service: migrate SQLite stores, serve at once, build the index in the background."""
    settings = read_settings()
    _check_port(settings)
    _prepare(settings)
    _raise_open_files()
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    log.info(
        "starting", version=__version__, address=f"http://{settings.host}:{settings.port}", data=str(settings.data.resolve())
    )
    Granian(
        "update_server.app:create_asgi_app",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        factory=True,
        workers=1,  # each worker would run every job; start more processes instead
        websockets=False,
        backlog=4096,
        backpressure=MAX_CONNECTIONS,  # default 1,024: one client could block all others
        log_level=LogLevels.warning,
        workers_kill_timeout=10,
    ).serve()


def _raise_open_files() -> None:
    """Raise the soft limit on open files, usually 1,024: each connection needs one."""
    try:
        import resource  # only on POSIX
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _check_port(settings: Settings) -> None:
    """Exit if the port is in use. Granian would share it (SO_REUSEPORT), and two services would answer in turn."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((settings.host, settings.port))
    except OSError as error:
        errors.print(
            f"[red]Cannot listen on {settings.host}:{settings.port}: {error.strerror or error}. "
            "Set UPDATE_SERVER_PORT or UPDATE_SERVER_HOST to a different value.[/red]"
        )
        raise typer.Exit(1) from error


@app.command()
def scheduler() -> None:
    """Run only the scheduled jobs: refresh, publish, purge. Set UPDATE_SERVER_JOBS=false in the web processes."""
    settings = read_settings()
    _prepare(settings)

    async def work() -> None:
        from update_server.app import running
        from update_server.services import Services

        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with running(Services(settings, Role.SCHEDULER), runs_jobs=True):
            log.info("scheduler_started")
            await stop.wait()

    asyncio.run(work())


def _prepare(settings: Settings) -> None:
    """Migrate SQLite stores; only check PostgreSQL stores, because only their owner may migrate them."""
    for store in Store:
        url = settings.aggregation.url(store, Role.OWNER)
        if url is None:
            continue
        try:
            if url.startswith("sqlite"):
                asyncio.run(upgrade(store, url))
            elif not asyncio.run(is_current(store, settings.aggregation.url(store) or url)):
                raise StoreError(f"The {store} store is not migrated: run `update-server db migrate` as its owner.")
        except StoreError as error:
            fail(f"{error}")
        except (SQLAlchemyError, OSError) as error:
            if url.startswith("sqlite"):
                fail(f"Cannot use the {store} store in {settings.data}: {first_line(error)}")
            # Update checks do not need the stores: start anyway, report this at /health/ready, and recover later.
            log.warning("store_away", store=store, error=first_line(error))


@app.command("settings")
def print_settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/settings.md.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """List every setting with its default and meaning."""
    from update_server.operations.settings_page import described, page

    if markdown:
        sys.stdout.write(page())
    elif as_json:
        console.print_json(json.dumps([item._asdict() for item in described()]))
    else:
        table = Table("setting", "default", "meaning")
        for item in described():
            table.add_row(*item)
        console.print(table)


@app.command()
def openapi() -> None:
    """Print the OpenAPI description as JSON."""
    from update_server.app import create_app
    from update_server.openapi import description

    settings = read_settings()
    console.print_json(json.dumps(description(create_app(settings))))


@app.command()
def demo(
    weeks: Annotated[int, typer.Option(min=1, max=260, help="Number of published weeks.")] = 104,
    people: Annotated[int, typer.Option(min=20, max=20_000, help="Number of participants in the last week.")] = 900,
) -> None:
    """Fill the data folder with weeks of sample data, so that the dashboard has numbers. Every page says that it is a demo.

    Each run starts over. A folder whose numbers may be real is refused.
    """
    from update_server.demo.filling import NotADemoError, fill

    settings = read_settings()
    now = Clock(settings.now).now()
    try:
        with show_progress("generating weeks", "demo_filling", "weeks") as progress:
            sent = asyncio.run(fill(settings, now, weeks=weeks, people=people, progress=progress))
    except NotADemoError as error:
        fail(f"{error}", 2)
    console.print(f"{settings.data}: {weeks} weeks of sample numbers from {sent:,} reports. To see them: update-server run")


@lists_app.command("napari-commands")
def napari_commands(
    pythons: Annotated[list[Path], typer.Argument(help="Python executables with a released napari[pyqt6].")],
    output: Annotated[Path, typer.Option("--output", "-o", help="List to extend.")] = Path(
        "update_server/intake/napari_commands.txt"
    ),
) -> None:
    """Add the commands of released napari versions to the list of napari's own commands."""
    from update_server.intake.napari_command_list import NapariError, add_commands

    try:
        for line in add_commands(pythons, output):
            console.print(line)
    except (NapariError, OSError) as error:
        fail(f"{error}")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
