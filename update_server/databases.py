"""The commands ``update-server db``: migrate and back up the two stores."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from aggregation.settings import Role, Store
from migrations import StoreError, upgrade
from migrations.rights import grant_public, grant_raw, role_of
from update_server.settings import Settings
from update_server.terminal import console, fail, first_line, read_settings

db_app = typer.Typer(help="Migrate and back up the two stores.", no_args_is_help=True)


def _stores(settings: Settings) -> Iterator[tuple[Store, str]]:
    for store in Store:
        url = settings.aggregation.url(store, Role.OWNER)
        if url is None:
            console.print(f"{store}: switched off")
        else:
            yield store, url


@db_app.command()
def migrate() -> None:
    """Migrate both stores to the newest revision, using the owner's URLs."""
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
        except (StoreError, SQLAlchemyError, OSError) as error:
            fail(f"Cannot migrate the {store} store: {first_line(error)}")
        console.print(f"{store}: up to date" + (f", rights granted to {', '.join(granted)}" if granted else ""))


@db_app.command()
def backup(folder: Annotated[Path, typer.Argument(help="New folder for the backup.")]) -> None:
    """Back up the public numbers, keys and index of a service that uses SQLite. The service may be running.

    Raw reports are never backed up.
    """
    from migrations.backing_up import BackupError, back_up

    settings = read_settings()
    try:
        files = back_up(settings.data, folder, settings.aggregation.key_folder)
    except (BackupError, OSError) as error:
        fail(f"{error}")
    for file in files:
        console.print(f"{file} ({file.stat().st_size:,} bytes)")
    console.print("To restore, put these files into an empty data folder and start the service.")
