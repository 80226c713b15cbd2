"""Fixtures: an application in memory with a fixed clock."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from litestar.testing import AsyncTestClient

from aggregation.settings import AggregationSettings, Store
from tests.support.facts import write_snapshot
from tests.support.stores import migrated
from tests.support.waiting import until
from update_server import representations
from update_server.app import Service, create_app
from update_server.index import store as index_store
from update_server.services import Services
from update_server.settings import Settings

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)
Client = AsyncTestClient[Service]
MakeClient = Callable[..., contextlib.AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="session", autouse=True)
def _fast_startup() -> Iterator[None]:
    """Use fast compression and do not freeze the garbage collector."""
    with pytest.MonkeyPatch.context() as patch:
        best = representations._COMPRESS
        quick = {name: lambda text, _, compress=compress: compress(text, True) for name, compress in best.items()}
        patch.setattr(representations, "_COMPRESS", quick)
        patch.setattr(index_store, "_freeze_gc", lambda: None)
        yield


@contextlib.asynccontextmanager
async def running_client(folder: Path, *, snapshot: bool = True, wait: bool = True, **changes: Any) -> AsyncIterator[Client]:
    """Run an application and yield its client. ``changes``: settings. ``snapshot=False``: no index on disk."""
    if snapshot and not (folder / "index.snapshot").exists():
        write_snapshot(folder)
    options: dict[str, Any] = {"data": folder, "now": NOW, "jobs": False, "log_level": "error"} | changes
    settings = Settings(**options)
    for store in Store:
        await migrated(store, settings.aggregation.url(store))
    async with AsyncTestClient(create_app(settings)) as client:
        await until(lambda: services_of(client).is_prepared or not wait)
        yield client


@pytest.fixture
def make_client(tmp_path: Path) -> MakeClient:
    """Return `running_client` for a temporary folder."""
    return partial(running_client, tmp_path / "data")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A client for read-only tests with ``asyncio(loop_scope="module")``."""
    async with running_client(tmp_path_factory.mktemp("shared") / "data") as made:
        yield made


@pytest.fixture
async def client(make_client: MakeClient) -> AsyncIterator[Client]:
    async with make_client() as made:
        yield made


def services_of(client: Client) -> Services:
    services = client.app.state.services
    assert isinstance(services, Services)
    return services


def without_raw_store() -> AggregationSettings:
    return AggregationSettings(raw_url="")
