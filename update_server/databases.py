"""The commands ``update-server db``: migrate, copy and back up the two stores."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from aggregation.settings import Role, Store, sqlite_url
from migrations import StoreNotMigratedError, StoreTooNewError, upgrade
from migrations.rights import grant_public, grant_raw, role_of
from update_server.settings import Settings
from update_server.terminal import console, errors, first_line, read_settings

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
            granted: list[str] = []
            if role_of(url) is not None and store is Store.RAW:
                roles = (role_of(settings.aggregation.url(store, role)) for role in (Role.WEB, Role.SCHEDULER))
                granted = asyncio.run(grant_raw(url, *roles))
            elif role_of(url) is not None:
                granted = asyncio.run(grant_public(url))
        except (StoreTooNewError, SQLAlchemyError, OSError) as error:
            errors.print(f"[red]Cannot migrate the {store} store: {first_line(error)}[/red]")
            raise typer.Exit(1) from error
        console.print(f"{store}: up to date" + (f", rights granted to {', '.join(granted)}" if granted else ""))


@db_app.command()
def copy(folder: Annotated[Path, typer.Argument(help="Data folder with the SQLite stores to be copied.")]) -> None:
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
        errors.print(f"[red]Nothing was copied: {first_line(error)}[/red]")
        raise typer.Exit(1) from error
    for store in Store:
        source_url = sqlite_url(folder / f"{store}.sqlite3")
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
            reason = first_line(error) if isinstance(error, SQLAlchemyError) else error
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
