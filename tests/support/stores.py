"""Migrated stores, copied from a template because migrating takes a hundred times as long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa

from aggregation.settings import AggregationSettings, Store
from aggregation.stores.engines import make_engine
from migrations import upgrade


async def migrated(store: Store, url: str | None) -> None:
    """Create and migrate a store; do nothing if its URL is None (a disabled store)."""
    if url is None:
        return
    file = sa.make_url(url).database or ""
    if store is Store.RAW or sa.make_url(url).get_backend_name() != "sqlite" or Path(file).exists():
        await upgrade(store, url)
        return
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).touch(mode=0o600)
    Path(file).write_bytes(await asyncio.to_thread(_template))


def sqlite_urls(folder: Path) -> dict[Store, str]:
    settings = AggregationSettings(data=folder, raw_url=None, aggregate_url=None)
    return {store: str(settings.url(store)) for store in Store}


@cache
def _template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(upgrade(Store.AGGREGATE, sqlite_urls(Path(folder))[Store.AGGREGATE]))
        return (Path(folder) / "aggregate.sqlite3").read_bytes()


@contextlib.contextmanager
def database(template: str | None = None) -> Iterator[str]:
    """Create a database on TEST_POSTGRESQL_URL, yield its URL, and drop it."""
    server = os.environ.get("TEST_POSTGRESQL_URL")
    if not server:
        pytest.skip(
            "needs PostgreSQL: start one and set TEST_POSTGRESQL_URL=postgresql+asyncpg://user:password@127.0.0.1/postgres "
            "(a role that may create databases)"
        )
    name = f"test_{uuid.uuid4().hex[:12]}"
    asyncio.run(_execute(server, f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else "")))
    yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    asyncio.run(_drop(server, name))


async def _drop(server: str, name: str) -> None:
    """Drop a database, retrying with and without FORCE: FORCE ends open connections, but fails while autovacuum is running."""
    for tries_left in range(20, -1, -1):
        try:
            await _execute(server, f'DROP DATABASE "{name}"' + (" WITH (FORCE)" if tries_left % 2 == 0 else ""))
        except sa.exc.DBAPIError:
            if not tries_left:
                raise
            await asyncio.sleep(1)
        else:
            return


async def _execute(url: str, statement: str) -> None:
    engine = make_engine(url)
    try:
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await connection.execute(sa.text(statement))
    finally:
        await engine.dispose()
