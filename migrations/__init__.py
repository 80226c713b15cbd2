"""Alembic migrations: one history for the raw store on PostgreSQL, one for the aggregate store.

``await upgrade(Store.RAW, url)`` brings a store up to date. It works inside a running event loop, where Alembic's own async
environment does not, because the connection is handed to it. The raw store on SQLite needs none: no file of it gets old.
"""

import asyncio
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from aggregation.settings import Store
from aggregation.stores.engines import make_engine
from aggregation.stores.raw_sqlite import SqliteReports


class StoreTooNewError(Exception):
    """A store that a newer version of this program has migrated."""


class StoreNotMigratedError(Exception):
    """A store that its owner has still to migrate."""


def version_table(store: Store) -> str:
    """Return the name of the table that says how far a store is; one each, so that both may share a database."""
    return f"alembic_version_{store}"


def config_for(store: Store) -> Config:
    """Return Alembic's configuration for a store's history."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / store).replace("%", "%%"))
    return config


async def upgrade(store: Store, url: str) -> None:
    """Bring a store to the newest revision. Raises StoreTooNewError if a newer version of this program has migrated it."""
    if _is_folder(store, url):
        await asyncio.to_thread(SqliteReports(url).prepare)
        return
    engine = make_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, store)
    finally:
        await engine.dispose()


async def is_current(store: Store, url: str) -> bool:
    """Whether a store is at the newest revision."""
    if _is_folder(store, url):
        return True
    engine = make_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_current, store) == _head(store)
    finally:
        await engine.dispose()


def _is_folder(store: Store, url: str) -> bool:
    return store is Store.RAW and url.startswith("sqlite")


def _upgrade(connection: Connection, store: Store) -> None:
    current = _current(connection, store)
    if current == _head(store):
        return
    config = config_for(store)
    if current and current not in {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}:
        raise StoreTooNewError(
            f"The {store} store is at revision {current}, which this version does not know: "
            "a newer version has migrated it. Install that version, or restore the store from before."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _current(connection: Connection, store: Store) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": version_table(store)}).get_current_revision()


@cache
def _head(store: Store) -> str | None:
    return ScriptDirectory.from_config(config_for(store)).get_current_head()
