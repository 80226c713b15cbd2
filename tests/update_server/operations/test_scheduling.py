from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aggregation.settings import Store
from tests.support.made_upstream import MadeUpstream
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


async def test_the_first_refresh_begins_at_once_and_every_job_is_there(tmp_path: Path) -> None:
    with MadeUpstream().served() as upstream:
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


@pytest.mark.postgresql
async def test_replicas_that_share_no_disk_share_the_index(tmp_path: Path, postgresql_url: str) -> None:
    from aggregation.settings import AggregationSettings
    from update_server.operations.scheduling import refreshed_by_a_replica, take_over

    stores = AggregationSettings(raw_url=postgresql_url, aggregate_url=postgresql_url)
    with MadeUpstream().served() as upstream:
        first = await services_on(tmp_path / "one", upstream=upstream, aggregation=stores)
        second = await services_on(tmp_path / "two", upstream="http://127.0.0.1:9", aggregation=stores)
        assert not await take_over(second), "nobody has offered anything"
        scheduler = make_scheduler(first)
        scheduler.start()
        await until(lambda: first.index.last_refresh is not None)
        await until(lambda: take_over(second))
        await scheduler.stop()
    assert first.index.loaded is not None
    assert second.index.loaded is not None
    assert second.index.loaded.index.facts == first.index.loaded.index.facts
    mine, theirs = first.index.loaded.files, second.index.loaded.files
    assert {path: body.etag for path, body in mine.items()} == {path: body.etag for path, body in theirs.items()}
    assert not await take_over(second), "once is enough"
    third = await services_on(tmp_path / "three", upstream="http://127.0.0.1:9", aggregation=stores)
    assert await refreshed_by_a_replica(third), "one refreshes, the others take what it read"
    assert third.index.loaded is not None
    assert len(third.index.loaded.packages) == 6
    await third.close()
    assert not second.index.adopt(b"half of a snapshot")
    assert second.index.loaded.index.facts == first.index.loaded.index.facts, "an unreadable snapshot changes nothing"
    await first.close()
    await second.close()


async def test_another_process_that_refreshed_is_served_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.facts import index_of
    from update_server.operations import scheduling

    monkeypatch.setattr(scheduling, "SECONDS_BETWEEN_LOOKS", 0.05)
    here, elsewhere = await services_on(tmp_path), await services_on(tmp_path)
    watching = asyncio.create_task(scheduling.watch_snapshot(here))
    elsewhere.index.replace(index_of())
    await until(lambda: here.index.loaded is not None and len(here.index.loaded.packages) == 6)
    watching.cancel()
    await here.close()
    await elsewhere.close()
