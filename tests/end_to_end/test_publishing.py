"""Publishing in processes: killed at any moment, inside the running service, and with the two stores on two servers."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from napari_update_hook.weeks import published_from, start_of, week_of
from napari_update_hook.wire import Level

from aggregation.catalogue import CATALOGUE
from aggregation.settings import Store
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.aggregate_tables import AGGREGATION_RUNS, CELLS
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import RawStore
from tests.support.batches import batch_json
from tests.support.facts import write_snapshot
from tests.support.postgresql import Cluster, running_cluster
from tests.support.processes import Server, clean_environment, run, running_server
from tests.support.reports import WEEK, expected, random_reports
from tests.support.stores import migrated
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")

KILLS = int(os.environ.get("TEST_PUBLISHING_KILLS", "6"))
NOW = f"{published_from(WEEK):%Y-%m-%dT%H:%M:%S}"
PEOPLE = 3000
"""So many that the reports of the week are counted by processes of their own."""


def in_stores(urls: dict[Store, str], work: Any) -> Any:
    """Do something with migrated stores."""

    async def on() -> Any:
        for store, url in urls.items():
            await migrated(store, url)
        raw, engine = RawStore(make_engine(urls[Store.RAW])), make_engine(urls[Store.AGGREGATE])
        try:
            return await work(raw, AggregateStore(engine))
        finally:
            await raw.close()
            await engine.dispose()

    return asyncio.run(on())


async def public(_: RawStore, aggregate: AggregateStore) -> tuple[list[str], dict[str, dict[tuple[str, ...], int]]]:
    """The published weeks, and all numbers of the week by entry."""
    numbers = {}
    for entry in CATALOGUE:
        rows = await aggregate.all_rows(entry, {}, since=WEEK, until=WEEK)
        numbers[entry.id] = {tuple(row.values[one.name] for one in entry.dimensions): row.people for row in rows}
    return await aggregate.published_weeks(), numbers


@pytest.mark.slow
def test_killed_at_any_moment_a_week_is_whole_or_not_there(store_urls: dict[Store, str], tmp_path: Path) -> None:
    reports = random_reports(11, PEOPLE)
    assert len(reports) > 4000
    whole = {entry.id: expected(entry, reports) for entry in CATALOGUE}
    urls = {f"AGGREGATION_{store.upper()}_URL": url for store, url in store_urls.items()}
    environment = clean_environment(UPDATE_SERVER_DATA=str(tmp_path), **urls)
    command = [sys.executable, "-m", "aggregation", "run", "--now", NOW]

    async def fill(raw: RawStore, _: AggregateStore) -> None:
        for start in range(0, len(reports), 500):
            await raw.put(reports[start : start + 500])

    async def again(_: RawStore, aggregate: AggregateStore) -> None:
        async with aggregate.engine.begin() as connection:
            for table in ("cells", "published_weeks", "aggregation_runs"):
                await connection.execute(sa.text(f"DELETE FROM {table}"))

    in_stores(store_urls, fill)
    before = time.monotonic()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    takes = time.monotonic() - before
    assert in_stores(store_urls, public) == ([WEEK], whole)
    nothing: dict[str, dict[tuple[str, ...], int]] = {entry.id: {} for entry in CATALOGUE}
    dice, killed = random.Random(4), 0
    for _ in range(KILLS):
        in_stores(store_urls, again)
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(takes * (0.3 + 0.75 * dice.random()))
        children = _children(process.pid)
        killed += process.poll() is None
        process.kill()
        process.wait()
        wait_until(lambda children=children: not any(map(_runs, children)), "a process that counts was left behind")  # type: ignore[misc]
        weeks, numbers = in_stores(store_urls, public)
        assert (weeks, numbers) in [([], nothing), ([WEEK], whole)]
        before = time.monotonic()
        finished = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        takes = time.monotonic() - before  # this machine may have more or less to do by now
        assert finished.returncode == 0, finished.stderr
        assert in_stores(store_urls, public) == ([WEEK], whole)
    assert killed > KILLS / 2, "most were killed before they were done"


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # not Linux, or gone
        return []


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_the_running_service_publishes_a_large_week_by_itself_and_goes_on_answering(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_snapshot(data)
    reports = random_reports(12, PEOPLE)
    urls = {store: f"sqlite+aiosqlite:///{data / f'{store}.sqlite3'}" for store in Store}

    async def fill(raw: RawStore, _: AggregateStore) -> None:
        for start in range(0, len(reports), 500):
            await raw.put(reports[start : start + 500])

    in_stores(urls, fill)
    with running_server(data, UPDATE_SERVER_NOW=NOW, UPDATE_SERVER_UPSTREAM="http://127.0.0.1:9") as server:
        wait_until(lambda: server.get("/api/stats").json()["weeks"] == [WEEK], server.log.read_text())
        weeks, numbers = in_stores(urls, public)
        assert (weeks, numbers) == ([WEEK], {entry.id: expected(entry, reports) for entry in CATALOGUE})
    ended = run("aggregation", "status", "--json", "--now", NOW, UPDATE_SERVER_DATA=str(data))
    assert '"publish"' in ended.stdout


@pytest.fixture
def two_servers(tmp_path: Path) -> Iterator[dict[Store, Cluster]]:
    """Two PostgreSQL servers, one for each store."""
    with ExitStack() as stack:
        yield {store: stack.enter_context(running_cluster()) for store in Store}


ROLES = {
    Store.RAW: ("CREATE ROLE scheduler LOGIN", "CREATE ROLE web LOGIN", "GRANT USAGE ON SCHEMA public TO scheduler, web"),
    Store.AGGREGATE: (
        "CREATE ROLE scheduler LOGIN",
        "CREATE ROLE web LOGIN",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO scheduler",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO scheduler",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO web",
    ),
}


@pytest.mark.postgresql
def test_the_stores_on_two_servers_each_seen_by_those_alone_who_need_it(
    two_servers: dict[Store, Cluster], tmp_path: Path
) -> None:
    """The intake reaches the raw store alone, the pages the aggregate store alone, the scheduler both, each in its own role."""

    def url(store: Store, role: str) -> str:
        return two_servers[store].url.replace("postgres@", f"{role}@")

    asyncio.run(_make_roles(two_servers))
    owner = {f"AGGREGATION_{store.upper()}_OWNER_URL": two_servers[store].url for store in Store}
    as_web = {f"AGGREGATION_{store.upper()}_URL": url(store, "web") for store in Store}
    as_scheduler = {f"AGGREGATION_{store.upper()}_SCHEDULER_URL": url(store, "scheduler") for store in Store}
    migrated = run("update_server", "db", "migrate", **owner, **as_web, **as_scheduler)
    assert migrated.returncode == 0, migrated.stderr
    assert asyncio.run(_count(two_servers[Store.RAW], CELLS.name)) is None  # neither server has the other's tables
    assert asyncio.run(_count(two_servers[Store.AGGREGATE], "reports")) is None

    data = tmp_path / "data"
    write_snapshot(data)
    during = f"{start_of(WEEK):%Y-%m-%dT%H:%M:%S}"
    quiet = {"UPDATE_SERVER_JOBS": "false", "UPDATE_SERVER_UPSTREAM": "http://127.0.0.1:9"}
    with running_server(data, UPDATE_SERVER_NOW=during, **quiet, **as_web) as intake:
        for person in range(12):
            body = batch_json(Level.MIDDLE, week=WEEK, identifier=f"{person:032x}")
            answer = httpx.post(f"{intake.url}/api/updates/middle?python=3.11", json=body, timeout=10)
            assert answer.json()["receipt"]["stored"], answer.text
    # Published with the scheduler's roles, and with none that could see a report by mistake.
    told = run("aggregation", "run", "--now", NOW, UPDATE_SERVER_DATA=str(data), **as_scheduler)
    assert "is published" in told.stdout, told.stderr
    # The pages' process has no URL of the raw store, and a role of the aggregate store that can only read.
    of_pages = {"AGGREGATION_RAW_URL": "", "AGGREGATION_AGGREGATE_URL": url(Store.AGGREGATE, "web")}
    with running_server(data, UPDATE_SERVER_NOW=NOW, **quiet, **of_pages) as pages:
        _serves_all_but_intake(pages)
        two_servers[Store.RAW].stop("immediate")
        _serves_all_but_intake(pages)
        assert asyncio.run(_count(two_servers[Store.AGGREGATE], AGGREGATION_RUNS.name)) == 1
        two_servers[Store.RAW].start()


async def _make_roles(clusters: dict[Store, Cluster]) -> None:
    for store, cluster in clusters.items():
        engine = make_engine(cluster.url)
        async with engine.begin() as connection:
            for statement in ROLES[store]:
                await connection.execute(sa.text(statement))
        await engine.dispose()


async def _count(cluster: Cluster, table: str) -> int | None:
    """How many rows a table has, None where there is no such table."""
    engine = make_engine(cluster.url)
    try:
        async with engine.connect() as connection:
            if await connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": table}) is None:
                return None
            return int(await connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) or 0)
    finally:
        await engine.dispose()


def _serves_all_but_intake(server: Server) -> None:
    numbers = server.get("/api/stats/napari").json()
    assert [(row["week"], row["people"]) for row in numbers["rows"]] == [(WEEK, 10)]
    for path in (
        "/",
        "/dashboard",
        "/privacy",
        "/verify",
        "/.well-known/jwks.json",
        "/api/retractions",
        "/api/updates?python=3.11",
    ):
        assert server.get(path).status_code == 200, path
    ready = server.get("/health/ready").json()
    assert ready["stores"] == {"aggregate": "ok", "raw": "switched off"}
    body = batch_json(Level.MIDDLE, week=week_of(published_from(WEEK)))
    refused = httpx.post(f"{server.url}/api/updates/middle?python=3.11", json=body, timeout=10)
    assert refused.status_code == 503
    found = httpx.post(f"{server.url}/api/reports/find", json={"identifier": "0" * 32}, timeout=10)
    assert found.status_code == 503
