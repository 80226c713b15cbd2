"""An application in memory, on an index of the small upstream and SQLite stores, with a clock of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from aggregation.settings import AggregationSettings, Store
from tests.support.facts import write_snapshot
from tests.support.stores import migrated
from tests.support.waiting import until
from update_server import representations
from update_server.app import create_app
from update_server.services import Services
from update_server.settings import Settings

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
Client = AsyncTestClient[Litestar]
MakeClient = Callable[..., contextlib.AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="session", autouse=True)
def _compressed_quickly() -> Iterator[None]:
    """Best compression takes a second of each application; how small answers get is for benchmarks."""
    best = dict(representations._COMPRESS)
    representations._COMPRESS.update(representations._QUICKLY)
    yield
    representations._COMPRESS.update(best)


@pytest.fixture
def make_client(tmp_path: Path) -> MakeClient:
    """Make a client of a running application; keyword arguments are settings. ``snapshot=False``: no index on disk."""

    @contextlib.asynccontextmanager
    async def make(*, snapshot: bool = True, **changes: Any) -> AsyncIterator[Client]:
        folder = tmp_path / "data"
        if snapshot and not (folder / "index.sqlite3").exists():
            write_snapshot(folder)
        options: dict[str, Any] = {"data": folder, "now": NOW, "jobs": False, "log_level": "error"} | changes
        settings = Settings(**options)
        for store in Store:
            await migrated(store, settings.aggregation.url(store))
        async with AsyncTestClient(create_app(settings)) as client:
            await until(lambda: services_of(client).is_prepared)
            yield client

    return make


@pytest.fixture
async def client(make_client: MakeClient) -> AsyncIterator[Client]:
    """A client of an application with default settings."""
    async with make_client() as made:
        yield made


def services_of(client: Client) -> Services:
    """Return the services behind a client."""
    services = client.app.state.services
    assert isinstance(services, Services)
    return services


def without_raw_store() -> AggregationSettings:
    """Return settings of a process that must not reach the raw store."""
    return AggregationSettings(raw_url="")
