"""Run Alembic migrations on an open connection: Alembic's async environment fails inside a running event loop."""

import asyncio
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from aggregation.settings import Store
from aggregation.stores.engines import open_engine
from aggregation.stores.raw_sqlite import SqliteReports


class StoreError(Exception):
    """The schema of a store is newer or older than this version; the message says what to do."""


def version_table(store: Store) -> str:
    """Return the name of a store's version table: separate tables allow both stores in one database."""
    return f"alembic_version_{store}"


def config_for(store: Store) -> Config:
    """Return Alembic's configuration for a store."""
    folder = str(Path(__file__).parent).replace("%", "%%")
    config = Config()
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", f"{folder}/{store}/versions")
    config.attributes["version_table"] = version_table(store)
    return config


async def upgrade(store: Store, url: str) -> None:
    """Migrate a store to the current schema. Raises StoreError."""
    if _is_folder(store, url):
        await asyncio.to_thread(SqliteReports(url).prepare)
        return
    async with open_engine(url) as engine, engine.begin() as connection:
        await connection.run_sync(_upgrade, store)


async def is_current(store: Store, url: str) -> bool:
    """Return whether the schema of a store is current."""
    if _is_folder(store, url):
        return True
    async with open_engine(url) as engine, engine.connect() as connection:
        return await connection.run_sync(_current, store) == _head(store)


def _is_folder(store: Store, url: str) -> bool:
    return store is Store.RAW and url.startswith("sqlite")


def _upgrade(connection: Connection, store: Store) -> None:
    current = _current(connection, store)
    if current == _head(store):
        return
    config = config_for(store)
    if current and current not in {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}:
        raise StoreError(
            f"The {store} store is at revision {current}, which is unknown to this version: "
            "a newer version migrated it. Install that version, or restore an older backup of the store."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _current(connection: Connection, store: Store) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": version_table(store)}).get_current_revision()


@cache
def _head(store: Store) -> str | None:
    return ScriptDirectory.from_config(config_for(store)).get_current_head()
