from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aggregation.__main__ import app
from aggregation.settings import Role, Store, StoreSettings
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import RawStore
from migrations import upgrade
from tests.support.reports import WEEK, report

runner = CliRunner()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UPDATE_SERVER_DATA", str(tmp_path))
    return tmp_path


def fill(people: int) -> None:
    async def put() -> None:
        url = StoreSettings().url(Store.RAW)
        assert url is not None
        await upgrade(Store.RAW, url)
        raw = RawStore(make_engine(url))
        await raw.put([report(person) for person in range(people)])
        await raw.engine.dispose()

    asyncio.run(put())


def test_an_empty_store_has_nothing_to_do(folder: Path) -> None:
    result = runner.invoke(app, ["run"])
    assert result.exit_code == 0
    assert "Nothing to do" in result.output


def test_run_publishes_what_is_due(folder: Path) -> None:
    fill(25)
    result = runner.invoke(app, ["run", "--now", "2026-11-01T00:00:00", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)[0] | {"cells": 0} == {
        "week": WEEK, "outcome": "published", "cells": 0, "reports": 25, "possible_from": None,
    }  # fmt: skip
    assert "published already" in runner.invoke(app, ["run", "--week", WEEK, "--now", "2026-11-01T00:00:00"]).output


def test_asked_too_early_it_says_when(folder: Path) -> None:
    fill(25)
    result = runner.invoke(app, ["run", "--week", WEEK, "--now", "2026-10-10T00:00:00"])
    assert result.exit_code == 2
    assert "2026-10-19 01:00 UTC" in result.output


def test_an_unknown_week_is_a_usage_error(folder: Path) -> None:
    assert runner.invoke(app, ["run", "--week", "last week"]).exit_code == 2


def test_forget_deletes_and_says_how_much(folder: Path) -> None:
    fill(3)
    assert "1 reports were deleted" in runner.invoke(app, ["forget", report(1).identifier]).output
    assert runner.invoke(app, ["forget", "not-an-identifier"]).exit_code == 2


def test_status_tells_where_things_stand(folder: Path) -> None:
    fill(12)
    told = json.loads(runner.invoke(app, ["status", "--json", "--now", "2026-12-24T00:00:00"]).stdout)
    assert (told["raw_weeks"], told["published_weeks"], told["overdue_for_deletion"]) == ([WEEK], [], [WEEK])
    assert "12 raw reports" in runner.invoke(app, ["purge", "--now", "2026-12-24T00:00:00"]).output
    assert WEEK not in runner.invoke(app, ["status", "--now", "2026-12-24T00:00:00"]).output


def test_a_store_that_is_switched_off_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATION_RAW_URL", "")
    result = runner.invoke(app, ["status"])
    assert result.exit_code == 2
    assert "AGGREGATION_RAW_URL" in result.output


def test_each_role_may_have_a_url_of_its_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATION_RAW_URL", "postgresql+asyncpg://web@db/raw")
    monkeypatch.setenv("AGGREGATION_RAW_OWNER_URL", "postgresql+asyncpg://owner@db/raw")
    settings = StoreSettings()
    assert settings.url(Store.RAW, Role.OWNER) == "postgresql+asyncpg://owner@db/raw"
    assert settings.url(Store.RAW, Role.SCHEDULER) == "postgresql+asyncpg://web@db/raw"
    assert str(settings.url(Store.AGGREGATE)).endswith("aggregate.sqlite3")


def test_a_week_without_reports_is_not_published_for_ever(folder: Path) -> None:
    fill(12)
    result = runner.invoke(app, ["run", "--week", "2019-W01"])
    assert result.exit_code == 2
    assert "no raw reports of 2019-W01" in result.output
    assert json.loads(runner.invoke(app, ["status", "--json"]).output)["published_weeks"] == []


def test_the_clock_moves_for_stores_on_this_machine_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGREGATION_RAW_URL", "postgresql+asyncpg://scheduler@db.example.org/raw")
    result = runner.invoke(app, ["run", "--now", "2030-01-01T00:00:00"])
    assert result.exit_code == 2
    assert "on this machine" in result.output


@pytest.mark.parametrize(
    "url", ["postgresql+asyncpg://x:y@127.0.0.1:9/raw", "nonsense", "sqlite+aiosqlite:////proc/nowhere/raw.sqlite3"]
)
def test_a_store_that_cannot_be_used_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("AGGREGATION_RAW_URL", url)
    result = runner.invoke(app, ["status"])
    assert result.exit_code == 1
    assert "can't be used" in result.output
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
