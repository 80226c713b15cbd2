"""The access log and the metrics count requests but do not identify clients."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from napari_telemetry.wire import Level
from structlog.testing import capture_logs

from aggregation.settings import Store
from tests.support.batches import batch_json
from tests.support.facts import write_snapshot
from tests.support.processes import reserved_port
from tests.support.stores import migrated
from tests.update_server.conftest import NOW
from update_server.app import create_app
from update_server.operations.accounting import metrics_middleware
from update_server.services import Services
from update_server.settings import Settings

PRIVATE = ("my-secret-plugin", "203.0.113.7", "9754d8f20e8124a25bb6d86c393f257a")


@contextlib.asynccontextmanager
async def measured_client(folder: Path, **changes: Any) -> AsyncIterator[tuple[httpx.AsyncClient, Services]]:
    """Run the application as the server does, with its metrics middleware."""
    write_snapshot(folder)
    options: dict[str, Any] = {"data": folder, "now": NOW, "jobs": False, "access_log": True} | changes
    settings = Settings(**options)
    for store in Store:
        if url := settings.aggregation.url(store):
            await migrated(store, url)
    app = create_app(settings)
    services: Services = app.state.services
    counted: Any = metrics_middleware(app, services.metrics, logs_access=settings.access_log)
    async with app.lifespan(), httpx.AsyncClient(transport=httpx.ASGITransport(counted), base_url="http://test") as client:
        yield client, services


async def test_the_access_log_names_the_endpoint_but_no_request_data(tmp_path: Path) -> None:
    batch = batch_json(Level.MIDDLE, plugins=[{"name": "my-secret-plugin", "version": "1.0"}])
    headers = {"x-forwarded-for": "203.0.113.7", "user-agent": "napari/9 my-secret-plugin"}
    async with measured_client(tmp_path / "data") as (client, _):
        with capture_logs() as lines:
            await client.post("/api/updates/middle?python=3.11", json=batch, headers=headers)
            await client.get("/api/pypi/my-secret-plugin?x=my-secret-plugin", headers=headers)
            await client.post("/api/reports/find", json={"identifier": PRIVATE[2]}, headers=headers)
            await client.get("/my-secret-plugin")
    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["method"], line["endpoint"], line["status"]) for line in requests][:3] == [
        ("POST", "/api/updates/{level}", 200),
        ("GET", "/api/pypi/{name}", 404),
        ("POST", "/api/reports/find", 200),
    ]
    assert requests[3]["status"] == 404
    written = json.dumps(lines, default=str)
    for text in PRIVATE:
        assert text not in written


async def test_metrics_count_reports_by_outcome(tmp_path: Path) -> None:
    port = reserved_port()
    async with measured_client(tmp_path / "data", metrics_port=port) as (client, _), httpx.AsyncClient() as scraper:
        first, second = batch_json(Level.BASIC, revision=1), batch_json(Level.BASIC, revision=2)
        for batch in (first, first, second, first):
            await client.post("/api/updates/basic?python=3.11", json=batch)
        text = (await scraper.get(f"http://127.0.0.1:{port}/metrics")).text
        for outcome in ("new", "repeated", "replaced", "held"):
            assert f'reports_total{{level="basic",outcome="{outcome}"}} 1.0' in text
        assert 'requests_total{endpoint="/api/updates/{level}",status="200"} 4.0' in text
        assert "report_queue_length 0.0" in text
        assert (await client.get("/metrics")).status_code == 404, "exact numbers are not public"
    async with httpx.AsyncClient() as scraper:
        with pytest.raises(httpx.ConnectError):
            await scraper.get(f"http://127.0.0.1:{port}/metrics")
