"""The commands ``update-server db``: migrate, copy, back up and roll back the two stores."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from aggregation.settings import Role, Store
from migrations import StoreNotMigratedError, StoreTooNewError, UnknownRevisionError, downgrade, history, upgrade
from migrations.rights import grant_public, grant_raw, role_of
from update_server.settings import Settings
from update_server.terminal import console, errors, read_settings, reason_of

db_app = typer.Typer(help="The two stores.", no_args_is_help=True)


def _stores(settings: Settings) -> Iterator[tuple[Store, str]]:
    """The stores with their owner's URLs; one that is switched off is said to be."""
    for store in Store:
        url = settings.aggregation.url(store, Role.OWNER)
        if url is None:
            console.print(f"{store}: switched off")
        else:
            yield store, url


@db_app.command()
def migrate() -> None:
    """Bring both stores to the newest revision, with the owner's URLs."""
    settings = read_settings()
    for store, url in _stores(settings):
        try:
            asyncio.run(upgrade(store, url))
            granted = _grant_raw(settings, url) if store is Store.RAW else _grant_public(url)
        except (StoreTooNewError, SQLAlchemyError, OSError) as error:
            errors.print(f"[red]Cannot migrate the {store} store: {reason_of(error)}[/red]")
            raise typer.Exit(1) from error
        console.print(f"{store}: up to date" + (f", rights granted to {', '.join(granted)}" if granted else ""))


@db_app.command()
def copy(
    folder: Annotated[Path, typer.Argument(help="Data folder with the SQLite stores to be copied.")],
) -> None:
    """Copy both stores from SQLite files into the (empty) stores that the owner's URLs name. Stop the service first."""
    from migrations.copying import CopyError, check_empty, copy_store

    settings = read_settings()
    for store in Store:
        source = folder / f"{store}.sqlite3"
        if not source.exists():
            errors.print(f"[red]There is no SQLite store {source}.[/red]")
            raise typer.Exit(2)
    migrate()
    try:
        for store in Store:  # both before anything is copied
            if (url := settings.aggregation.url(store, Role.OWNER)) is not None:
                asyncio.run(check_empty(store, url))
    except (CopyError, SQLAlchemyError, OSError) as error:
        errors.print(f"[red]Nothing was copied: {reason_of(error)}[/red]")
        raise typer.Exit(1) from error
    for store in Store:
        source_url = f"sqlite+aiosqlite:///{(folder / f'{store}.sqlite3').resolve()}"
        url = settings.aggregation.url(store, Role.OWNER)
        if url is None:
            continue
        try:
            asyncio.run(upgrade(store, source_url))
            with console.status(f"copying the {store} store") as status:
                copied = asyncio.run(
                    copy_store(store, source_url, url, lambda table, rows: status.update(f"copying {table}: {rows:,} rows"))
                )
        except (CopyError, StoreNotMigratedError, StoreTooNewError, SQLAlchemyError, OSError) as error:
            reason = reason_of(error) if isinstance(error, SQLAlchemyError) else error
            errors.print(f"[red]Cannot copy the {store} store: {reason}[/red]")
            raise typer.Exit(1) from error
        console.print(f"{store}: copied " + ", ".join(f"{rows:,} {table}" for table, rows in copied.items()))
    console.print(
        f"Copy {folder / 'keys'} by hand, which signs certificates, if it is there. Delete {folder / 'raw.sqlite3'} (with -wal "
        "and -shm) once the service runs on the new stores: raw reports are kept in one place, and for 60 days."
    )


@db_app.command()
def backup(folder: Annotated[Path, typer.Argument(help="A folder that is not there yet.")]) -> None:
    """Save public numbers, keys and index of a service on SQLite, also while it runs. Raw reports are in no backup."""
    from migrations.backing_up import BackupError, back_up

    settings = read_settings()
    try:
        files = back_up(settings.data, folder, settings.aggregation.key_folder)
    except (BackupError, OSError) as error:
        errors.print(f"[red]{error}[/red]")
        raise typer.Exit(1) from error
    for file in files:
        console.print(f"{file} ({file.stat().st_size:,} bytes)")
    console.print("To restore it, put these files into an empty data folder and start the service.")


def _grant_raw(settings: Settings, owner_url: str) -> list[str]:
    """Give the web process and the scheduler their rights in the raw store, where that is PostgreSQL."""
    if role_of(owner_url) is None:
        return []
    web, scheduler = (role_of(settings.aggregation.url(Store.RAW, role)) for role in (Role.WEB, Role.SCHEDULER))
    return asyncio.run(grant_raw(owner_url, web, scheduler))


def _grant_public(owner_url: str) -> list[str]:
    """Let Grafana read the public numbers, where the store is PostgreSQL and has a role for it."""
    return [] if role_of(owner_url) is None else asyncio.run(grant_public(owner_url))


@db_app.command()
def revisions() -> None:
    """List the revisions of each store, newest first, and at which it is."""
    settings = read_settings()
    for store, url in _stores(settings):
        try:
            known = asyncio.run(history(store, url))
        except (SQLAlchemyError, OSError) as error:
            errors.print(f"[red]Cannot read the {store} store: {reason_of(error)}[/red]")
            raise typer.Exit(1) from error
        for revision, meaning, is_current in known:
            console.print(f"{store} {revision}: {meaning}" + (" [bold](here)[/bold]" if is_current else ""))


@db_app.command()
def rollback(
    store: Annotated[Store, typer.Argument(help="raw or aggregate")],
    revision: Annotated[str, typer.Argument(help="The revision to go back to: see update-server db revisions")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take a store back to an older revision, so that an older version can start on it. Stop the service first.

    What newer revisions added is lost, tables with what is in them: back up before.
    """
    settings = read_settings()
    url = settings.aggregation.url(store, Role.OWNER)
    if url is None:
        errors.print(f"[red]The {store} store is switched off.[/red]")
        raise typer.Exit(2)
    try:
        undone = asyncio.run(history(store, url))
        names = [name for name, _, _ in undone]
        if revision not in names:
            errors.print(f"[red]There is no revision {revision} of the {store} store: {', '.join(names)}[/red]")
            raise typer.Exit(2)
        at = next((place for place, one in enumerate(undone) if one[2]), len(names))
        lost = undone[at : names.index(revision)]
        for name, meaning, _ in lost:
            console.print(f"undone is {name}: {meaning}")
        if not lost:
            console.print(f"The {store} store is at {revision}, or older, already.")
            return
        if not yes:
            typer.confirm(f"Take the {store} store back to {revision}? What these revisions added is lost", abort=True)
        asyncio.run(downgrade(store, url, revision))
    except (UnknownRevisionError, SQLAlchemyError, OSError) as error:
        errors.print(f"[red]Cannot take the {store} store back: {reason_of(error)}[/red]")
        raise typer.Exit(1) from error
    console.print(
        f"The {store} store is at {revision}. Install the version that belongs to it; this one would migrate it again."
    )
