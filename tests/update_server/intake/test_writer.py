from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aggregation.settings import Store
from aggregation.stores.raw import RawStore, open_raw_store
from tests.support.reports import report
from tests.support.stores import migrated
from update_server.intake.writer import ReportWriter
from update_server.problems import Problem


async def make_store(folder: Path) -> RawStore:
    url = f"sqlite+aiosqlite:///{folder / 'raw'}"
    await migrated(Store.RAW, url)
    return open_raw_store(url)


async def test_a_full_queue_is_a_503_that_asks_to_retry(tmp_path: Path) -> None:
    store = await make_store(tmp_path)
    writer = ReportWriter(store, 300)
    waiting = [asyncio.create_task(writer.put(report(person))) for person in range(300)]
    await asyncio.sleep(0)
    assert writer.waiting == 300
    await asyncio.sleep(0)
    with pytest.raises(Problem, match="send it again later") as refused:
        await writer.put(report(9999))
    assert refused.value.status == 503
    for task in waiting:
        task.cancel()
    await store.close()


async def test_waiting_requests_get_an_error_when_the_writer_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await make_store(tmp_path)
    entered = asyncio.Event()

    async def hangs(_: Any) -> Any:
        entered.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "put", hangs)
    writer = ReportWriter(store)
    task = asyncio.create_task(writer.run())
    waiting = asyncio.create_task(writer.put(report(1)))
    await entered.wait()
    task.cancel()
    with pytest.raises(Problem):
        await waiting
    await store.close()
