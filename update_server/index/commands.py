"""The commands ``update-server index build`` and ``seed``."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from aggregation.clock import Clock
from update_server.index import folder, snapshot
from update_server.index.model import Facts, Package
from update_server.index.notices import NoticesError, read_notices
from update_server.index.progress import show_progress
from update_server.index.refresh import build
from update_server.index.snapshot import Index, Origin
from update_server.index.sources.fetching import UpstreamError
from update_server.index.table import instant_text, make_tables
from update_server.settings import Settings
from update_server.terminal import console, errors, fail, read_settings

MAX_REASONS = 20
"""Maximum number of reasons to print."""

index_app = typer.Typer(help="Build the plugin index.", no_args_is_help=True)

Upstream = Annotated[str | None, typer.Option("--upstream", help="Base URL of all upstream services.")]


@index_app.command("build")
def build_folder(
    directory: Annotated[Path, typer.Argument(help="Folder to write; created if missing.")],
    previous: Annotated[
        str | None,
        typer.Option(
            "--previous",
            help="Folder or URL of an earlier build, used if an upstream fails. Default: the folder itself.",
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

    If some data is stale, write the last good entries, print the reasons, and exit with 1.
    """
    settings = _settings(upstream)
    reasons: list[str] = []
    earlier = None
    try:
        earlier = folder.previous(previous or str(directory))
        if earlier is None and previous:
            errors.print(f"[yellow]{previous} has no usable index, so everything is read again.[/yellow]")
        try:
            with show_progress() as progress:
                index = asyncio.run(build(settings, earlier, Clock(settings.now), progress))
        except (UpstreamError, OSError) as error:
            if earlier is None:
                raise
            index, reasons = earlier, [str(error)]
        said, unlisted = read_notices(notices, index.facts.by_key(), index.facts.as_of.date()) if notices else ({}, [])
        changed = earlier.changed if earlier else {}
        tables = make_tables(index.facts, changed, settings.check_again_s, takes_reports=takes_reports, notices=said)
        count = folder.write(msgspec.structs.replace(index, changed=tables.changed), tables, directory)
    except (UpstreamError, NoticesError) as error:
        fail(f"Nothing was written: {error}")
    except OSError as error:
        fail(f"{directory} can't be written: {error.strerror or error}")
    console.print(
        f"{directory}: {count:,} files, {len(index.facts.packages)} packages, as of {instant_text(index.facts.as_of)}"
    )
    reasons += [f"{name}: a notice names this package, but it is not in the index" for name in unlisted]
    reasons += [f"{key}: {entry.error}" for key, entry in sorted(index.stale.items())]
    if reasons:
        errors.print(f"[yellow]{len(reasons)} problems; the last good entries were kept:[/yellow]")
        for line in reasons[:MAX_REASONS]:
            errors.print(f"  {line}", markup=False, highlight=False)
        if len(reasons) > MAX_REASONS:
            errors.print(f"  and {len(reasons) - MAX_REASONS} more: see errors.json")
        raise typer.Exit(1)


@index_app.command("seed")
def make_seed(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("update_server/index/seed.snapshot"),
    upstream: Upstream = None,
) -> None:
    """Build the seed index, which a service uses before its first refresh: names, versions and requirements."""
    settings = _settings(upstream)
    try:
        with show_progress() as progress:
            index = asyncio.run(build(settings, None, Clock(settings.now), progress))
        snapshot.write(bare(index), output)
    except (UpstreamError, OSError) as error:
        fail(f"The seed was not written: {error}")
    size, as_of = output.stat().st_size, index.facts.as_of
    console.print(f"{output}: {len(index.facts.packages)} packages, {size:,} bytes, as of {as_of:%Y-%m-%d %H:%M} UTC")
    if index.stale:
        errors.print(f"[yellow]{len(index.stale)} projects could not be read: {', '.join(sorted(index.stale))}[/yellow]")


def bare(index: Index) -> Index:
    """Return a seed: the index without texts, conda-forge data and advisories."""

    def of(package: Package) -> Package:
        releases = (msgspec.structs.replace(release, files=tuple(dict.fromkeys(release.files))) for release in package.releases)
        return msgspec.structs.replace(package, conda=None, vulnerabilities={}, releases=tuple(releases))

    facts = Facts(index.facts.as_of, False, tuple(map(of, index.facts.packages)), tuple(map(of, index.facts.parts)))
    return Index(facts, Origin.SEED)


def _settings(upstream: str | None) -> Settings:
    if upstream is not None:
        os.environ["UPDATE_SERVER_UPSTREAM"] = upstream
    return read_settings()
