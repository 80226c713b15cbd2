"""What all tests share: no environment of the machine reaches them, and the two stores on each database there is."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa
from napari_update_hook.switches import CI_VARIABLES

from aggregation.settings import Store
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import RawStore
from migrations import upgrade
from tests.support import promised

collect_ignore = [] if find_spec("napari") else ["inside_napari"]
"""`make test-napari` runs these, in environments of their own."""
hypothesis.settings.register_profile("ours", deadline=None)  # no test is timed: the machine may have other things to do
hypothesis.settings.load_profile("ours")
OURS = ("UPDATE_SERVER_", "AGGREGATION_", "NAPARI_UPDATE_", "NAPARI_TELEMETRY")


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests run on a machine that may be a CI system and may have settings: none of it may decide a result."""
    for name in list(os.environ):
        if name in CI_VARIABLES or name == "DO_NOT_TRACK" or name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NAPARI_UPDATE_STATE", str(tmp_path / "client-state"))


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    """A database of its own on the PostgreSQL server of TEST_POSTGRESQL_URL."""
    server = os.environ.get("TEST_POSTGRESQL_URL")
    if not server:
        pytest.skip(
            "needs PostgreSQL: start one and set TEST_POSTGRESQL_URL=postgresql+asyncpg://user:password@127.0.0.1/postgres "
            "(a role that may create databases)"
        )
    name = f"test_{uuid.uuid4().hex[:12]}"
    asyncio.run(_on_server(server, f'CREATE DATABASE "{name}"'))
    yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    asyncio.run(_dropped(server, name))


async def _dropped(server: str, name: str) -> None:
    """Drop a database. By force, where somebody is connected; without, where PostgreSQL itself is just tidying it up."""
    for tries_left in range(20, -1, -1):
        try:
            await _on_server(server, f'DROP DATABASE "{name}"' + (" WITH (FORCE)" if tries_left % 2 == 0 else ""))
        except sa.exc.DBAPIError:
            if not tries_left:
                raise
            await asyncio.sleep(1)
        else:
            return


async def _on_server(url: str, statement: str) -> None:
    engine = make_engine(url)
    try:
        async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            await connection.execute(sa.text(statement))
    finally:
        await engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store_urls(request: pytest.FixtureRequest, tmp_path: Path) -> dict[Store, str]:
    """URLs of empty stores: SQLite files, then a PostgreSQL database."""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        return dict.fromkeys(Store, url)
    return {store: f"sqlite+aiosqlite:///{tmp_path / f'{store}.sqlite3'}" for store in Store}


@pytest.fixture
async def raw(store_urls: dict[Store, str]) -> AsyncIterator[RawStore]:
    """The raw store, migrated and empty."""
    await upgrade(Store.RAW, store_urls[Store.RAW])
    engine = make_engine(store_urls[Store.RAW])
    store = RawStore(engine)
    yield store
    await store.close()


@pytest.fixture
async def aggregate(store_urls: dict[Store, str]) -> AsyncIterator[AggregateStore]:
    """The aggregate store, migrated and empty."""
    await upgrade(Store.AGGREGATE, store_urls[Store.AGGREGATE])
    engine = make_engine(store_urls[Store.AGGREGATE])
    yield AggregateStore(engine)
    await engine.dispose()


OUTCOMES: dict[str, str] = {}
"""Of the tests that the privacy page names."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down how each promised test ended, its worst case counting."""
    name = report.nodeid.partition("[")[0].removeprefix("tests/")
    if name in promised.tests() and (report.when == "call" or report.outcome != "passed"):
        OUTCOMES[name] = promised.worst(OUTCOMES.get(name), report.outcome)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Where TEST_NOTHING_SKIPPED is set, as in CI, a skipped test is a failure: nothing may hide behind a missing service."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if reporter and skipped and os.environ.get("TEST_NOTHING_SKIPPED") and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"{len(skipped)} tests were skipped, which TEST_NOTHING_SKIPPED forbids", red=True)
    if reporter and os.environ.get("TEST_NOTHING_SKIPPED") and promised.is_whole_suite(session.config.args):
        here = {name for name in promised.tests() if not name.startswith(promised.ELSEWHERE)}
        for line in promised.missing(OUTCOMES, here):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            reporter.write_line(f"a promise of the privacy page is not held: {line}", red=True)
