"""Shared fixtures: isolated settings, and both stores on each database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa
from napari_update_hook.settings import UNATTENDED_VARIABLES

from aggregation.settings import Store
from aggregation.stores import engines
from aggregation.stores.aggregate import AggregateStore
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import RawStore, open_raw_store
from migrations import upgrade
from tests.support import promises
from tests.support.stores import database, migrated, sqlite_urls

collect_ignore = [] if find_spec("napari") else ["inside_napari"]
"""Paths not to collect. `make test-napari` runs ``inside_napari`` in its own environments."""
if not os.environ.get("TEST_CONTAINERS"):
    collect_ignore.append("containers")  # `make test-containers` runs these
hypothesis.settings.register_profile("all", deadline=None)  # no deadlines: the machine may be busy
hypothesis.settings.register_profile("everyday", deadline=None, max_examples=25)
hypothesis.settings.load_profile("all" if os.environ.get("TEST_ALL") else "everyday")
SETTING_PREFIXES = ("UPDATE_SERVER_", "AGGREGATION_", "NAPARI_UPDATE_", "NAPARI_TELEMETRY")
SLOW_MODULES = (
    "test_year",
    "test_real_references",
    "test_real_index",
    "test_npe2api",
    "test_nothing_lost",
    "test_folder",
    "test_starting",
)
"""Modules to run first, so that no worker still has a slow one at the end."""

MARK_BY_FIXTURE = {"postgresql_url": "postgresql", "migrated_postgresql_url": "postgresql", "napari_python": "napari"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by fixture, and run slow modules first."""
    places = {f"{name}.py": place for place, name in enumerate(SLOW_MODULES)}
    items.sort(key=lambda item: places.get(item.path.name, len(SLOW_MODULES)))  # stable
    for item in items:
        for fixture, mark in MARK_BY_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


@pytest.fixture(autouse=True)
def _isolated_from_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove environment variables of the machine or CI that could change a result."""
    for name in list(os.environ):
        if name in UNATTENDED_VARIABLES or name == "DO_NOT_TRACK" or name.startswith(SETTING_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NAPARI_UPDATE_STATE", str(tmp_path / "client-state"))


@pytest.fixture(scope="session", autouse=True)
def _sqlite_does_not_wait_for_the_disk() -> Iterator[None]:
    """Turn off fsync in this process. Durability tests kill separate processes, which do sync."""
    engines.SYNCHRONOUS = "OFF"
    yield
    engines.SYNCHRONOUS = "FULL"


@pytest.fixture
def durable_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "SYNCHRONOUS", "FULL")


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    with database() as url:
        yield url


@pytest.fixture(scope="session")
def _postgresql_template() -> Iterator[str]:
    with database() as url:
        for store in Store:
            asyncio.run(upgrade(store, url))
        yield sa.make_url(url).database or ""


@pytest.fixture
def migrated_postgresql_url(_postgresql_template: str) -> Iterator[str]:
    with database(_postgresql_template) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store_urls(request: pytest.FixtureRequest, tmp_path: Path) -> dict[Store, str]:
    if request.param == "postgresql":
        return dict.fromkeys(Store, request.getfixturevalue("migrated_postgresql_url"))
    urls = sqlite_urls(tmp_path)
    for store, url in urls.items():
        asyncio.run(migrated(store, url))
    return urls


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def empty_urls(request: pytest.FixtureRequest, tmp_path: Path) -> dict[Store, str]:
    if request.param == "postgresql":
        return dict.fromkeys(Store, request.getfixturevalue("postgresql_url"))
    return sqlite_urls(tmp_path)


@pytest.fixture
async def raw(store_urls: dict[Store, str]) -> AsyncIterator[RawStore]:
    store = open_raw_store(store_urls[Store.RAW])
    yield store
    await store.close()


@pytest.fixture
async def aggregate(store_urls: dict[Store, str]) -> AsyncIterator[AggregateStore]:
    engine = make_engine(store_urls[Store.AGGREGATE])
    yield AggregateStore(engine)
    await engine.dispose()


OUTCOMES: dict[str, str] = {}
"""The worst outcome of each test, across its parameters and phases."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    name = report.nodeid.partition("[")[0].removeprefix("tests/")
    if report.when == "call" or report.outcome != "passed":
        OUTCOMES[name] = promises.worst(OUTCOMES.get(name), report.outcome)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a full run that leaves a promise unverified and, if TEST_NOTHING_SKIPPED is set (CI), any run with a skip."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # xdist worker
        return
    nothing_skipped = bool(os.environ.get("TEST_NOTHING_SKIPPED"))
    # Tests of upstream copies may be skipped, even in CI: nothing downloads the copies.
    skipped = [one for one in reporter.stats.get("skipped", []) if "TEST_UPSTREAM_COPIES" not in str(one.longrepr)]
    if nothing_skipped and skipped and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"{len(skipped)} tests were skipped, which TEST_NOTHING_SKIPPED forbids", red=True)
    if not os.environ.get("TEST_ALL"):
        return
    for line in promises.unverified(OUTCOMES, session.config.args, may_skip=not nothing_skipped):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"privacy promise not verified: {line}", red=True)
