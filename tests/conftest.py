"""What all tests share: no environment of the machine reaches them, and the two stores on each database there is."""

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
"""`make test-napari` runs these, in environments of their own."""
if not os.environ.get("TEST_CONTAINERS"):
    collect_ignore.append("containers")  # `make test-containers`, by hand
hypothesis.settings.register_profile("all", deadline=None)  # no test is timed: the machine may have other things to do
hypothesis.settings.register_profile("everyday", deadline=None, max_examples=25)
hypothesis.settings.load_profile("all" if os.environ.get("TEST_ALL") else "everyday")
OURS = ("UPDATE_SERVER_", "AGGREGATION_", "NAPARI_UPDATE_", "NAPARI_TELEMETRY")
LONGEST = (
    "test_year",
    "test_real_references",
    "test_real_index",
    "test_npe2api",
    "test_nothing_lost",
    "test_folder",
    "test_starting",
)
"""Modules that take minutes: they run first, because the last one would run alone."""

MARK_BY_FIXTURE = {"postgresql_url": "postgresql", "migrated_postgresql_url": "postgresql", "napari_python": "napari"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs PostgreSQL or napari by the fixture that brings it; begin with the modules that take longest."""
    places = {f"{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))  # stable
    for item in items:
        for fixture, mark in MARK_BY_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


@pytest.fixture(autouse=True)
def _isolated_from_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests run on a machine that may be a CI system and may have settings: none of it may decide a result."""
    for name in list(os.environ):
        if name in UNATTENDED_VARIABLES or name == "DO_NOT_TRACK" or name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NAPARI_UPDATE_STATE", str(tmp_path / "client-state"))


@pytest.fixture(scope="session", autouse=True)
def _sqlite_does_not_wait_for_the_disk() -> Iterator[None]:
    """In this process no commit waits for the disk. Tests of durability kill processes of their own, which do wait."""
    engines.SYNCHRONOUS = "OFF"
    yield
    engines.SYNCHRONOUS = "FULL"


@pytest.fixture
def durable_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits wait for the disk, as in production."""
    monkeypatch.setattr(engines, "SYNCHRONOUS", "FULL")


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    """An empty database on the PostgreSQL server of TEST_POSTGRESQL_URL."""
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
    """A database with both stores, migrated and empty."""
    with database(_postgresql_template) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store_urls(request: pytest.FixtureRequest, tmp_path: Path) -> dict[Store, str]:
    """URLs of migrated, empty stores: SQLite files, then a PostgreSQL database."""
    if request.param == "postgresql":
        return dict.fromkeys(Store, request.getfixturevalue("migrated_postgresql_url"))
    urls = sqlite_urls(tmp_path)
    for store, url in urls.items():
        asyncio.run(migrated(store, url))
    return urls


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def empty_urls(request: pytest.FixtureRequest, tmp_path: Path) -> dict[Store, str]:
    """URLs of stores that nothing has migrated."""
    if request.param == "postgresql":
        return dict.fromkeys(Store, request.getfixturevalue("postgresql_url"))
    return sqlite_urls(tmp_path)


@pytest.fixture
async def raw(store_urls: dict[Store, str]) -> AsyncIterator[RawStore]:
    """The raw store, migrated and empty."""
    store = open_raw_store(store_urls[Store.RAW])
    yield store
    await store.close()


@pytest.fixture
async def aggregate(store_urls: dict[Store, str]) -> AsyncIterator[AggregateStore]:
    """The aggregate store, migrated and empty."""
    engine = make_engine(store_urls[Store.AGGREGATE])
    yield AggregateStore(engine)
    await engine.dispose()


OUTCOMES: dict[str, str] = {}
"""Of every test, its worst case counting."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how each test ended."""
    name = report.nodeid.partition("[")[0].removeprefix("tests/")
    if report.when == "call" or report.outcome != "passed":
        OUTCOMES[name] = promises.worst(OUTCOMES.get(name), report.outcome)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run of all tests that did not hold a promise; with TEST_NOTHING_SKIPPED, as in CI, a skip fails it too."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # a worker of xdist
        return
    nothing_skipped = bool(os.environ.get("TEST_NOTHING_SKIPPED"))
    # Copies of other projects' repositories are at hand or not: no machine gets them by itself.
    skipped = [one for one in reporter.stats.get("skipped", []) if "TEST_UPSTREAM_COPIES" not in str(one.longrepr)]
    if nothing_skipped and skipped and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"{len(skipped)} tests were skipped, which TEST_NOTHING_SKIPPED forbids", red=True)
    if not os.environ.get("TEST_ALL"):
        return
    for line in promises.not_held(OUTCOMES, session.config.args, may_skip=not nothing_skipped):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"a promise of the privacy page is not held: {line}", red=True)
