"""Publishing in a process that is killed at random moments."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from napari_telemetry.weeks import publishable_from

from aggregation.catalogue import CATALOGUE
from aggregation.settings import Store
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import RawStore, open_raw_store
from tests.support.processes import clean_environment
from tests.support.reports import WEEK, expected, random_reports
from tests.support.stores import migrated
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")

KILLS = int(os.environ.get("TEST_PUBLISHING_KILLS", "6"))
NOW = f"{publishable_from(WEEK):%Y-%m-%dT%H:%M:%S}"
PEOPLE = 3000
"""Number of people; enough that counting uses worker processes."""


def run_on_stores(urls: dict[Store, str], work: Any) -> Any:
    """Migrate the stores, and run ``work`` on them."""

    async def on() -> Any:
        for store, url in urls.items():
            await migrated(store, url)
        raw, engine = open_raw_store(urls[Store.RAW]), make_engine(urls[Store.AGGREGATE])
        try:
            return await work(raw, AggregateStore(engine))
        finally:
            await raw.close()
            await engine.dispose()

    return asyncio.run(on())


async def read_public(_: RawStore, aggregate: AggregateStore) -> tuple[list[str], dict[str, dict[tuple[str, ...], int]]]:
    """Return published weeks, and numbers by entry."""
    numbers = {}
    for entry in CATALOGUE:
        rows = await aggregate.numbers(entry, {}, since=WEEK, until=WEEK)
        numbers[entry.id] = {tuple(row.values[one.name] for one in entry.dimensions): row.people for row in rows}
    return await aggregate.published_weeks(), numbers


@pytest.mark.slow
def test_killed_publishing_leaves_a_complete_week_or_no_week(store_urls: dict[Store, str], tmp_path: Path) -> None:
    reports = random_reports(11, PEOPLE)
    assert len(reports) > PEOPLE
    whole = expected(reports)
    urls = {f"AGGREGATION_{store.upper()}_URL": url for store, url in store_urls.items()}
    environment = clean_environment(UPDATE_SERVER_DATA=str(tmp_path), **urls)
    command = [sys.executable, "-m", "aggregation", "run", "--now", NOW]

    async def fill(raw: RawStore, _: AggregateStore) -> None:
        for start in range(0, len(reports), 500):
            await raw.put(reports[start : start + 500])

    async def unpublish(_: RawStore, aggregate: AggregateStore) -> None:
        async with aggregate.engine.begin() as connection:
            for table in ("cells", "published_weeks", "aggregation_runs"):
                await connection.execute(sa.text(f"DELETE FROM {table}"))

    run_on_stores(store_urls, fill)
    before = time.monotonic()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    takes = time.monotonic() - before
    assert run_on_stores(store_urls, read_public) == ([WEEK], whole)
    nothing: dict[str, dict[tuple[str, ...], int]] = {entry.id: {} for entry in CATALOGUE}
    dice, killed = random.Random(4), 0
    while killed < KILLS:
        run_on_stores(store_urls, unpublish)
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(takes * (0.3 + 0.7 * dice.random()))
        children = _children(process.pid)
        if process.poll() is None:
            killed += 1
        else:
            takes *= 0.8  # it finished before the kill: kill earlier
        process.kill()
        process.wait()
        wait_until(lambda children=children: not any(map(_runs, children)), "a worker was left behind")  # type: ignore[misc]
        weeks, numbers = run_on_stores(store_urls, read_public)
        assert (weeks, numbers) in [([], nothing), ([WEEK], whole)]
        before = time.monotonic()
        finished = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        takes = time.monotonic() - before  # the machine's load may have changed
        assert finished.returncode == 0, finished.stderr
        assert run_on_stores(store_urls, read_public) == ([WEEK], whole)


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
