"""Fixtures: the command line, with stores in a temporary folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import pytest
from napari_telemetry.weeks import publishable_from
from typer.testing import CliRunner, Result

from aggregation.catalogue import CATALOGUE
from aggregation.cli import app
from aggregation.publish import publish_week
from aggregation.settings import AggregationSettings, Role, Store
from aggregation.stores.aggregate import AggregateStore, PublicRow
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import RawStore, open_raw_store
from aggregation.stores.records import Records, Retraction
from aggregation.stores.reports import Report
from tests.support.reports import report
from tests.support.stores import migrated

LATER = "2026-11-01T00:00:00"


class Command:
    """Runs the command line and accesses its stores."""

    def __call__(self, *arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        assert result.exit_code == code, result.output
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code).stdout)

    def on_stores(self, work: Callable[[RawStore, AggregateStore], Coroutine[Any, Any, Any]]) -> Any:
        """Run ``work`` on the migrated stores."""

        async def on() -> Any:
            urls = [AggregationSettings().url(store, Role.OWNER) for store in Store]
            for store, url in zip(Store, urls, strict=True):
                await migrated(store, url or "")
            raw, aggregate = open_raw_store(urls[0] or ""), AggregateStore(make_engine(urls[1] or ""))
            try:
                return await work(raw, aggregate)
            finally:
                await raw.close()
                await aggregate.engine.dispose()

        return asyncio.run(on())

    def numbers(self, entry: str) -> list[PublicRow]:
        (asked,) = [one for one in CATALOGUE if one.id == entry]
        found: list[PublicRow] = self.on_stores(lambda _, aggregate: aggregate.numbers(asked, {}))
        return found

    def retractions(self) -> list[Retraction]:
        found: list[Retraction] = self.on_stores(lambda _, aggregate: Records(aggregate.engine).retractions())
        return found

    def prepare(self, reports: Iterable[Report] = ()) -> None:
        async def put(raw: RawStore, _: AggregateStore) -> None:
            if some := list(reports):
                await raw.put(some)

        self.on_stores(put)

    def publish(self, **people: int) -> None:
        """Publish weeks such as ``W40=25``."""

        async def out(raw: RawStore, aggregate: AggregateStore) -> None:
            for name, number in people.items():
                week = f"2026-{name}"
                await raw.put([report(person, week=week) for person in range(number)])
                await publish_week(raw, aggregate, week, publishable_from(week))

        self.on_stores(out)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("UPDATE_SERVER_DATA", str(data))
    monkeypatch.setenv("COLUMNS", "200")
    return data


@pytest.fixture
def command(folder: Path) -> Command:
    return Command()
