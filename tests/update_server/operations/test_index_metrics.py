"""Metrics of the index; alerts use only existing metrics."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from tests.support.facts import empty_metrics
from tests.update_server.conftest import NOW, Client, services_of
from update_server.index.store import RefreshOutcome
from update_server.operations.metrics import Metrics

ALERTS = Path(__file__).parents[3] / "deploy" / "prometheus" / "alerts.yaml"


def values(metrics: Metrics) -> dict[str, str]:
    """Return the metric values by name and labels."""
    lines = generate_latest(metrics.registry).decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


async def test_index_metrics_are_computed_on_scrape(client: Client) -> None:
    services = services_of(client)
    assert services.index.loaded is not None
    told = values(services.metrics)
    age = (services.clock.now() - services.index.loaded.index.facts.as_of).total_seconds()
    assert float(told["index_age_seconds"]) == pytest.approx(age, abs=5)
    assert float(told["index_packages"]) == len(services.loaded().packages)
    assert told["index_last_refresh_failed"] == "NaN"
    services.index.last_refresh = RefreshOutcome(NOW, "the upstream is away")
    told = values(services.metrics)
    assert told["index_last_refresh_failed"] == "1.0"
    assert float(told["index_last_refresh_timestamp_seconds"]) == NOW.timestamp()


async def test_update_checks_and_other_files_are_counted(client: Client) -> None:
    first = await client.get("/api/updates/pypi.json")
    await client.get("/api/updates/pypi.json", headers={"if-none-match": first.headers["etag"]})
    await client.get("/api/pypi/affinder")
    told = values(services_of(client).metrics)
    counted = {
        (kind, status): told[f'index_files_total{{kind="{kind}",status="{status}"}}']
        for kind in ("table", "other")
        for status in (200, 304)
    }
    assert counted == {("table", 200): "1.0", ("table", 304): "1.0", ("other", 200): "1.0", ("other", 304): "0.0"}


def test_alerts_use_existing_metrics_and_say_what_to_do() -> None:
    measured = {re.split(r"[{ ]", name)[0] for name in values(empty_metrics())} | {"requests_total"}
    families = {family.name for family in empty_metrics().registry.collect()}
    (group,) = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    assert len(group["rules"]) >= 8
    for rule in group["rules"]:
        named = set(re.findall(r"\b([a-z]+(?:_[a-z]+)+)\b(?=[\[{)]| |$)", rule["expr"]))
        assert named, rule["alert"]
        assert named <= measured | families, rule["alert"]
        assert {"summary", "action"} <= set(rule["annotations"])
        assert rule["labels"]["severity"] in ("page", "ticket")
