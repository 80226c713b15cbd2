"""Overdue reports, weeks at risk and failing jobs show at /health/ready or in the metrics."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from napari_telemetry.weeks import start_of
from prometheus_client import generate_latest

from aggregation.publish import publish_week
from aggregation.settings import AggregationSettings
from aggregation.status import PURGE, RETENTION, WAS_STOPPED, ServiceStatus, purge
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.engines import make_engine
from tests.support.facts import empty_metrics
from tests.support.reports import WEEK, report
from tests.support.waiting import until
from tests.update_server.conftest import Client, MakeClient, services_of
from update_server.index.store import LoadedIndex
from update_server.operations.health import status_of
from update_server.services import Services

END = start_of(WEEK) + RETENTION


async def ready(client: Client) -> tuple[int, str, str]:
    answer = await client.get("/health/ready")
    return answer.status_code, answer.json()["status"], " ".join(answer.json()["reasons"])


async def metrics(services: Services) -> dict[str, float]:
    services.metrics.status = await status_of(services)
    lines = generate_latest(services.metrics.registry).decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


async def fill(services: Services, people: int = 12) -> None:
    assert services.raw is not None
    await services.raw.put([report(person) for person in range(people)])


async def test_overdue_raw_reports_fail_readiness_until_deleted(make_client: MakeClient) -> None:
    async with make_client(now=END) as client:
        services = services_of(client)
        await fill(services)
        code, status, reasons = await ready(client)
        assert (code, status) == (503, "overdue")
        assert "older than 60 days" in reasons
        assert WEEK not in reasons
        assert (await metrics(services))["raw_weeks_overdue"] == 1
        assert (await client.get("/api/updates?python=3.11")).status_code == 200  # update checks still work
        assert services.raw is not None
        await purge(services.raw, services.clock.now())
        assert (await ready(client))[:2] == (200, "ok")
        assert (await metrics(services))["raw_weeks_overdue"] == 0


async def test_a_week_about_to_be_lost_shows_only_in_metrics(make_client: MakeClient) -> None:
    async with make_client(now=END - timedelta(days=6)) as client:
        services = services_of(client)
        await fill(services)
        # not public, because it would reveal that people took part in that week
        assert await ready(client) == (200, "ok", "")
        found = await metrics(services)
        assert (found["weeks_at_risk"], found["weeks_due"]) == (1, 1)
        assert services.raw is not None
        await publish_week(services.raw, services.aggregate, WEEK, services.clock.now())
        assert (await ready(client))[:2] == (200, "ok")
        assert (await metrics(services))["weeks_at_risk"] == 0


async def test_a_failed_job_is_reported_without_its_error_message(make_client: MakeClient) -> None:
    async with make_client() as client:
        services = services_of(client)
        now = services.clock.now()
        run = await services.aggregate.job_started("publish", now - timedelta(hours=1))
        await services.aggregate.job_ended(run, now - timedelta(hours=1), None)
        run = await services.aggregate.job_started("publish", now)
        await services.aggregate.job_ended(run, now, "no rights for user scheduler on db.internal")
        code, status, reasons = await ready(client)
        assert (code, status) == (200, "degraded")
        assert "The job publish failed" in reasons
        assert "db.internal" not in reasons
        found = await metrics(services)
        assert found['job_last_run_failed{job="publish"}'] == 1
        assert found['job_last_start_timestamp_seconds{job="publish"}'] == pytest.approx(now.timestamp())
        assert found['job_last_success_timestamp_seconds{job="publish"}'] == pytest.approx(now.timestamp() - 3600)


@pytest.mark.postgresql
async def test_a_web_process_without_access_to_weeks_relies_on_the_job_record(
    make_client: MakeClient, postgresql_url: str
) -> None:
    stores = AggregationSettings(raw_url=postgresql_url, aggregate_url=postgresql_url)
    async with make_client(aggregation=stores) as client:
        services = services_of(client)
        code, status, reasons = await ready(client)
        assert (code, status) == (503, "overdue")
        assert "is `update-server scheduler` running?" in reasons
        now = services.clock.now()
        scheduler = AggregateStore(make_engine(postgresql_url))  # another process
        run = await scheduler.job_started(PURGE, now - timedelta(minutes=59))
        await scheduler.job_ended(run, now - timedelta(minutes=59), None)
        await scheduler.engine.dispose()
        assert (await ready(client))[:2] == (200, "ok")
        services.clock._offset = services.clock._offset and services.clock._offset + timedelta(minutes=10)
        assert (await ready(client))[:2] == (503, "overdue")


def test_unknown_overdue_weeks_are_nan_in_the_metrics() -> None:
    shown = empty_metrics()
    shown.status = ServiceStatus([], None, None, None, None, [], [])
    assert "raw_weeks_overdue NaN" in generate_latest(shown.registry).decode()


async def test_a_process_without_raw_store_reports_a_failed_purge(make_client: MakeClient) -> None:
    async with make_client(aggregation=AggregationSettings(raw_url="")) as client:
        services = services_of(client)
        now = services.clock.now()
        run = await services.aggregate.job_started(PURGE, now - timedelta(hours=2))
        await services.aggregate.job_ended(run, now - timedelta(hours=2), "no rights")
        assert (await ready(client))[:2] == (503, "overdue")


async def test_a_job_stopped_with_its_process_is_not_a_failure(make_client: MakeClient) -> None:
    async with make_client() as client:
        services = services_of(client)
        run = await services.aggregate.job_started("order", services.clock.now())
        await services.aggregate.job_ended(run, services.clock.now(), WAS_STOPPED)
        assert (await ready(client))[:2] == (200, "ok")
        assert (await metrics(services))['job_last_run_failed{job="order"}'] == 0


async def test_readiness_waits_for_compression(make_client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load balancers and benchmarks must wait until the index is compressed."""
    may_compress, compress = threading.Event(), LoadedIndex.compress
    monkeypatch.setattr(LoadedIndex, "compress", lambda loaded: may_compress.wait(60) and compress(loaded))
    async with make_client(wait=False) as client:
        preparing = await client.get("/health/ready")
        assert (preparing.status_code, preparing.json()["status"]) == (503, "preparing")
        assert (await client.get("/api/updates/pypi.json")).status_code == 200
        may_compress.set()
        await until(lambda: services_of(client).is_prepared)
        assert (await client.get("/health/ready")).status_code == 200
