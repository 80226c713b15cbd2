"""Grafana's dashboards are generated from the catalogue; its role can run the SQL of every panel."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from napari_telemetry.weeks import publishable_from
from sqlalchemy.exc import ProgrammingError

from aggregation.catalogue import CATALOGUE, Entry
from aggregation.grafana import PUBLIC_TABLES, dashboards, write
from aggregation.publish import publish_week
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.aggregate_tables import AggregateBase
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import open_raw_store
from migrations import rights
from tests.support.reports import WEEK, random_reports

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "grafana"
PASSWORD = "for-a-test-alone"


def test_dashboard_files_match_the_catalogue(tmp_path: Path) -> None:
    for made in write(tmp_path):
        assert (FOLDER / "dashboards" / made.name).read_text("utf-8") == made.read_text("utf-8"), "run make docs"
    assert {path.name for path in (FOLDER / "dashboards").iterdir()} == set(dashboards())


def test_all_panels_use_the_provisioned_data_source() -> None:
    (source,) = yaml.safe_load((FOLDER / "provisioning" / "datasources" / "aggregate.yaml").read_text("utf-8"))["datasources"]
    assert (source["uid"], source["user"], source["jsonData"]["database"]) == ("aggregate", "grafana", "aggregate")
    assert source["secureJsonData"]["password"].startswith("$__file{/run/secrets/")
    panels = [panel for dashboard in dashboards().values() for panel in dashboard["panels"]]
    used = set(re.findall(r'"uid": "(\w+)"', json.dumps([panel.get("datasource") for panel in panels])))
    assert used == {"aggregate"}
    (provider,) = yaml.safe_load((FOLDER / "provisioning" / "dashboards" / "dashboards.yaml").read_text("utf-8"))["providers"]
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    grafana = compose["services"]["grafana"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert source["secureJsonData"]["password"].removesuffix("}").rsplit("/", 1)[1] in grafana["secrets"]
    assert source["url"].split(":")[0] in compose["services"]
    assert "raw" not in grafana["networks"]


def queries() -> Iterator[tuple[str, Entry, str]]:
    """Yield dashboard, entry and SQL of each panel."""
    entries = {entry.question: entry for entry in CATALOGUE}
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield name, entries[panel["title"]], target["rawSql"]


@pytest.fixture
async def reader(migrated_postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The URL of a filled store, with Grafana's role."""
    name = f"grafana_{uuid.uuid4().hex[:8]}"
    monkeypatch.setattr(rights, "READER", name)
    engine = make_engine(migrated_postgresql_url)
    raw, aggregate = open_raw_store(migrated_postgresql_url), AggregateStore(engine)
    for week in ("2026-W39", WEEK):
        await raw.put(random_reports(5, 1500, week=week))
        await publish_week(raw, aggregate, week, publishable_from(week))
    async with engine.begin() as connection:
        await connection.execute(sa.text(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"))
    assert await rights.grant_public(migrated_postgresql_url) == [name]
    yield sa.make_url(migrated_postgresql_url).set(username=name, password=PASSWORD).render_as_string(hide_password=False)
    async with engine.begin() as connection:
        await connection.execute(sa.text(f"GRANT {name} TO CURRENT_USER"))
        await connection.execute(sa.text(f"DROP OWNED BY {name}"))
        await connection.execute(sa.text(f"DROP ROLE {name}"))
    await raw.close()
    await engine.dispose()


def filled_in(query: str) -> str:
    query = re.sub(r"\$__timeFilter\((\w+)\)", r"\1 BETWEEN '2026-01-01T00:00:00Z' AND '2026-12-31T00:00:00Z'", query)
    return re.sub(r"\$\{plugin:sqlstring\}", "'affinder'", query)


@pytest.mark.postgresql
async def test_every_panel_shows_public_numbers_and_nothing_else(reader: str) -> None:
    engine = make_engine(reader)
    async with engine.connect() as connection:
        for dashboard, entry, query in queries():
            assert "$" not in filled_in(query), query
            found = (await connection.execute(sa.text(filled_in(query).replace(":", r"\:")))).mappings().all()
            assert found, (dashboard, entry.id)
            assert set(found[0]) <= {"time", "metric", "value", "what", "people"}
            people = [row["value"] if "value" in row else row["people"] for row in found]
            assert all(number >= 10 and number % 5 == 0 for number in people)
        for dashboard_json in dashboards().values():
            for variable in dashboard_json["templating"]["list"]:
                assert "affinder" in (await connection.execute(sa.text(variable["query"]))).scalars().all()
    await engine.dispose()


@pytest.mark.postgresql
async def test_the_grafana_role_cannot_read_other_tables_or_write(reader: str) -> None:
    engine = make_engine(reader)
    tables: dict[str, Any] = AggregateBase.metadata.tables
    for name in tables:
        statement = sa.text(f"SELECT count(*) FROM {name}")
        async with engine.connect() as connection:
            if name in PUBLIC_TABLES:
                await connection.execute(statement)
                continue
            with pytest.raises(ProgrammingError, match="permission denied"):
                await connection.execute(statement)
    for change in ("DELETE FROM cells", "UPDATE cells SET people = 0", "CREATE TABLE mine (a int)"):
        async with engine.connect() as connection:
            with pytest.raises(ProgrammingError, match="permission denied"):
                await connection.execute(sa.text(change))
    await engine.dispose()
