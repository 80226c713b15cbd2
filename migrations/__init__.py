"""Alembic migrations: one history for the raw store, one for the aggregate store.

``await upgrade(Store.RAW, url)`` brings a store up to date. It works inside a running event loop, where Alembic's own async
environment does not, because the connection is handed to it.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from aggregation.settings import Store
from aggregation.stores.engines import make_engine


class StoreTooNewError(Exception):
    """A store that a newer version of this program has migrated."""


class UnknownRevisionError(Exception):
    """A revision that a store's history does not have."""


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
    """Bring a store to the newest revision. Raises StoreTooNewError where that was left behind already."""
    engine = make_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, store)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, store: Store) -> None:
    config = config_for(store)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    context = MigrationContext.configure(connection, opts={"version_table": version_table(store)})
    if unknown := set(context.get_current_heads()) - known:
        raise StoreTooNewError(
            f"The {store} store is at revision {', '.join(sorted(unknown))}, which this version does not know: "
            "a newer version has migrated it. Install that version, or restore the store from before."
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def downgrade(store: Store, url: str, revision: str) -> None:
    """Take a store back to an older revision, with the loss of what newer ones added. Raises UnknownRevisionError."""
    if revision not in {script.revision for script in ScriptDirectory.from_config(config_for(store)).walk_revisions()}:
        raise UnknownRevisionError(f"the {store} store has no revision {revision}")

    def go(connection: Connection) -> None:
        config = config_for(store)
        config.attributes["connection"] = connection
        command.downgrade(config, revision)

    engine = make_engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(go)
    finally:
        await engine.dispose()


async def history(store: Store, url: str) -> list[tuple[str, str, bool]]:
    """Return the revisions of a store, newest first: name, meaning, and whether it is at that one."""
    engine = make_engine(url)
    try:
        async with engine.connect() as connection:
            current = await connection.run_sync(_current, store)
    finally:
        await engine.dispose()
    scripts = ScriptDirectory.from_config(config_for(store)).walk_revisions()
    return [(script.revision, script.doc or "", script.revision == current) for script in scripts]


def _current(connection: Connection, store: Store) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": version_table(store)}).get_current_revision()


async def is_current(store: Store, url: str) -> bool:
    """Tell whether a store is at the newest revision."""
    engine = make_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_is_current, store)
    finally:
        await engine.dispose()


def _is_current(connection: Connection, store: Store) -> bool:
    head = ScriptDirectory.from_config(config_for(store)).get_current_head()
    return _current(connection, store) == head
