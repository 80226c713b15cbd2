"""The commands ``update-server index build`` and ``seed``."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from aggregation.clock import Clock
from update_server.index import folder, seed
from update_server.index.folder import NoPreviousIndexError
from update_server.index.notices import NoticesError, read_notices
from update_server.index.refresh import RefreshRefusedError, build, check_plausible
from update_server.index.sources.fetching import UpstreamError
from update_server.index.table import instant_text, make_tables
from update_server.operations.progress import shown_progress
from update_server.settings import Settings
from update_server.terminal import console, errors, read_settings

MAX_REASONS = 20
"""Stale projects to print."""

index_app = typer.Typer(help="Build the plugin index.", no_args_is_help=True)

Upstream = Annotated[str | None, typer.Option("--upstream", help="Base URL of all upstream services.")]


@index_app.command("build")
def build_folder(
    directory: Annotated[Path, typer.Argument(help="Folder to write; created if missing.")],
    previous: Annotated[
        str | None,
        typer.Option(
            "--previous",
            help="Folder or URL of an earlier build, in case an upstream fails. Default: the folder itself.",
        ),
    ] = None,
    takes_reports: Annotated[
        bool, typer.Option("--takes-reports", help="State that a service at this address accepts usage reports.")
    ] = False,
    notices: Annotated[
        Path | None, typer.Option("--notices", help="YAML file of notices about releases and plugins, for the update tables.")
    ] = None,
    upstream: Upstream = None,
) -> None:
    """Write the index as static files for any web server, without a database or running service.

    Exits with 1 and the reasons if a part is stale; the last good entries are still written.
    """
    settings = _settings(upstream)
    try:
        earlier = folder.previous(previous or str(directory))
    except NoPreviousIndexError as error:
        errors.print(f"[red]Nothing was written: {error}[/red]")
        raise typer.Exit(1) from error
    if earlier is None and previous:
        errors.print(f"[yellow]{previous} has no usable index: everything is read again.[/yellow]")
    reasons: list[str] = []
    try:
        with shown_progress() as progress:
            index = asyncio.run(build(settings, earlier, Clock(settings.now), progress))
        check_plausible(index, earlier)
    except (UpstreamError, RefreshRefusedError, OSError) as error:
        reason = str(error) or f"the upstream took more than {settings.refresh_timeout_s} s"
        if earlier is None:
            errors.print(f"[red]Nothing was written: {reason}[/red]")
            raise typer.Exit(1) from error
        index, reasons = earlier, [reason]
    changed = earlier.changed if earlier else {}
    try:
        said, unlisted = read_notices(notices, index.facts.by_key(), index.facts.as_of.date()) if notices else ({}, [])
    except NoticesError as error:
        errors.print(f"Nothing was written: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    tables = make_tables(index.facts, changed, settings.check_again_s, takes_reports=takes_reports, notices=said)
    try:
        count = folder.write(msgspec.structs.replace(index, changed=tables.changed), tables, directory)
    except OSError as error:
        errors.print(f"[red]{directory} can't be written: {error.strerror or error}[/red]")
        raise typer.Exit(1) from error
    console.print(
        f"{directory}: {count:,} files, {len(index.facts.packages)} packages, as of {instant_text(index.facts.as_of)}"
    )
    reasons += [f"{name}: a notice names it, but the index doesn't list it" for name in unlisted]
    reasons += [f"{key}: {entry.error}" for key, entry in sorted(index.stale.items())]
    if reasons:
        errors.print(f"[yellow]Faults; the last good entries were kept ({len(reasons)}):[/yellow]")
        for line in reasons[:MAX_REASONS]:
            errors.print(f"  {line}", markup=False, highlight=False)
        if len(reasons) > MAX_REASONS:
            errors.print(f"  and {len(reasons) - MAX_REASONS} more: see errors.json")
        raise typer.Exit(1)


@index_app.command("seed")
def make_seed(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("update_server/index/seed.json.xz"),
    upstream: Upstream = None,
) -> None:
    """Make the seed index, which a service uses before its first refresh."""
    settings = _settings(upstream)
    try:
        with shown_progress() as progress:
            index = asyncio.run(build(settings, None, Clock(settings.now), progress))
        output.parent.mkdir(parents=True, exist_ok=True)
        packed = seed.pack(index.facts)
        output.write_bytes(packed)
    except (UpstreamError, OSError) as error:
        errors.print(f"[red]No seed was made: {error or 'the upstream took too long'}[/red]")
        raise typer.Exit(1) from error
    console.print(
        f"{output}: {len(index.facts.packages)} packages, {len(packed):,} bytes, as of {index.facts.as_of:%Y-%m-%d %H:%M} UTC"
    )
    if index.stale:
        errors.print(f"[yellow]{len(index.stale)} projects could not be read: {', '.join(sorted(index.stale))}[/yellow]")


def _settings(upstream: str | None) -> Settings:
    if upstream is not None:
        os.environ["UPDATE_SERVER_UPSTREAM"] = upstream
    return read_settings()
