from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aggregation.settings import Store
from tests.support.sample_upstream import FakeUpstream
from tests.support.stores import migrated
from tests.support.waiting import until
from update_server.operations.scheduling import make_scheduler
from update_server.services import Services
from update_server.settings import Settings


async def services_on(folder: Path, **changes: object) -> Services:
    settings = Settings(**({"data": folder, "log_level": "error"} | changes))  # type: ignore[arg-type]
    for store in Store:
        url = settings.aggregation.url(store)
        assert url is not None
        await migrated(store, url)
    services = Services(settings)
    services.index.load()
    return services


async def test_all_jobs_are_scheduled_and_a_refresh_starts_at_once(tmp_path: Path) -> None:
    with FakeUpstream().served() as upstream:
        services = await services_on(tmp_path, upstream=upstream)
        scheduler = make_scheduler(services)
        assert {job.id for job in scheduler.get_jobs()} == {"refresh", "downloads", "publish", "purge", "order"}
        scheduler.start()
        await until(lambda: services.index.last_refresh is not None)
        await scheduler.stop()
    assert services.index.last_refresh is not None
    assert services.index.last_refresh.error is None
    assert services.index.loaded is not None
    assert len(services.index.loaded.packages) == 6
    await services.close()


async def test_an_index_refreshed_by_another_process_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.facts import index_of
    from update_server.operations import scheduling

    monkeypatch.setattr(scheduling, "SAMPLING_INTERVAL_S", 0.05)
    here, elsewhere = await services_on(tmp_path), await services_on(tmp_path)
    watching = asyncio.create_task(scheduling.watch_snapshot(here))
    elsewhere.index.replace(index_of())
    await until(lambda: here.index.loaded is not None and len(here.index.loaded.packages) == 6)
    watching.cancel()
    await here.close()
    await elsewhere.close()
