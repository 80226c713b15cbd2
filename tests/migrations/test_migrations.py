"""Migrations create the tables that the models declare, and do not touch newer stores."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from aggregation.settings import Store
from aggregation.stores.aggregate_tables import AggregateBase
from aggregation.stores.engines import make_engine
from migrations import StoreError, is_current, upgrade, version_table
from tests.support.stores import sqlite_urls


async def test_migrations_match_the_models(empty_urls: dict[Store, str]) -> None:
    store = Store.AGGREGATE
    assert not await is_current(store, empty_urls[store])
    await upgrade(store, empty_urls[store])
    await upgrade(store, empty_urls[store])
    assert await is_current(store, empty_urls[store])

    def differences(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": version_table(store), "compare_type": True})
        return list(compare_metadata(context, AggregateBase.metadata))

    engine = make_engine(empty_urls[store])
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_a_store_of_a_newer_version_is_left_alone(empty_urls: dict[Store, str]) -> None:
    """Each SQLite week of raw reports has its own version: see aggregation/test_raw_store.py."""
    store = Store.AGGREGATE if empty_urls[Store.RAW].startswith("sqlite") else Store.RAW
    await upgrade(store, empty_urls[store])
    engine = make_engine(empty_urls[store])
    async with engine.begin() as connection:
        await connection.execute(sa.text(f"UPDATE {version_table(store)} SET version_num = '9999'"))
    await engine.dispose()
    with pytest.raises(StoreError, match=rf"{store}.*9999.*newer version"):
        await upgrade(store, empty_urls[store])


async def test_a_path_may_contain_a_percent_sign(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path)) / "100% mine"
    folder.mkdir()
    for store, url in sqlite_urls(folder).items():
        await upgrade(store, url)
    assert {path.name for path in folder.iterdir()} >= {"raw", "aggregate.sqlite3"}
