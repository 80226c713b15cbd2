"""The histories of both stores: they make what the models declare, go forth and back, and disturb nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from aggregation.settings import Store
from aggregation.stores.aggregate_tables import AggregateBase
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import RawBase, RawStore
from migrations import (
    StoreTooNewError,
    UnknownRevisionError,
    config_for,
    downgrade,
    history,
    is_current,
    upgrade,
    version_table,
)
from tests.support.processes import run
from tests.support.reports import report

METADATA = {Store.RAW: RawBase.metadata, Store.AGGREGATE: AggregateBase.metadata}


@pytest.mark.parametrize("store", Store)
async def test_the_migrations_make_what_the_models_declare(store_urls: dict[Store, str], store: Store) -> None:
    assert not await is_current(store, store_urls[store])
    await upgrade(store, store_urls[store])
    await upgrade(store, store_urls[store])
    assert await is_current(store, store_urls[store])

    def differences(connection: sa.Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"version_table": version_table(store), "compare_type": True})
        return list(compare_metadata(context, METADATA[store]))

    engine = make_engine(store_urls[store])
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


@pytest.mark.parametrize("store", Store)
async def test_a_store_of_a_newer_version_is_left_alone(store_urls: dict[Store, str], store: Store) -> None:
    await upgrade(store, store_urls[store])
    engine = make_engine(store_urls[store])
    async with engine.begin() as connection:
        await connection.execute(sa.text(f"UPDATE {version_table(store)} SET version_num = '9999'"))
    await engine.dispose()
    with pytest.raises(StoreTooNewError, match=rf"{store}.*9999.*newer version"):
        await upgrade(store, store_urls[store])


def test_the_two_stores_share_no_table() -> None:
    assert not set(RawBase.metadata.tables) & set(AggregateBase.metadata.tables)


async def test_a_percent_sign_in_a_path_is_no_trouble(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path)) / "100% mine"
    folder.mkdir()
    await upgrade(Store.RAW, f"sqlite+aiosqlite:///{folder / 'raw.sqlite3'}")
    assert (folder / "raw.sqlite3").exists()


@pytest.mark.postgresql
async def test_reports_move_into_partitions_and_back(postgresql_url: str) -> None:
    """A raw store that holds reports of two weeks, as the first release left it."""
    rows = [
        {"week": week, "identifier": f"{number:032x}", "environment": f"{number:08x}", "revision": number, "document": "{}"}
        for week in ("2026-W40", "2026-W41")
        for number in range(1, 4)
    ]

    def go_to(connection: sa.Connection, revision: str, *, down: bool = False) -> None:
        config = config_for(Store.RAW)
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)

    engine = make_engine(postgresql_url)
    select = sa.text("SELECT week, identifier, environment, revision, level FROM reports ORDER BY week, identifier")
    insert = "INSERT INTO reports VALUES (:week, :identifier, :environment, :revision, 'basic', 1, CAST(:document AS jsonb))"
    async with engine.begin() as connection:
        await connection.run_sync(go_to, "0001")
        await connection.execute(sa.text(insert), rows)
        before = (await connection.execute(select)).all()
    async with engine.begin() as connection:
        await connection.run_sync(go_to, "head")
        assert (await connection.execute(select)).all() == before
        partitions = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'reports'::regclass ORDER BY 1"
        assert (await connection.scalars(sa.text(partitions))).all() == ["reports_2026_w40", "reports_2026_w41"]
        assert await connection.scalar(sa.text("SELECT count(*) FROM find_reports(:who)"), {"who": f"{1:032x}"}) == 2
    async with engine.begin() as connection:
        await connection.run_sync(go_to, "0001", down=True)
        assert (await connection.execute(select)).all() == before
    await engine.dispose()
    await upgrade(Store.RAW, postgresql_url)
    assert await is_current(Store.RAW, postgresql_url)


@pytest.mark.postgresql
@pytest.mark.parametrize("revision", ["0002"])
async def test_reports_are_taken_while_the_owner_migrates(postgresql_url: str, revision: str) -> None:
    """Web processes of the version before go on working: no report waits for long, none is refused, none is lost."""
    await upgrade(Store.RAW, postgresql_url)
    await downgrade(Store.RAW, postgresql_url, revision)
    web = RawStore(make_engine(postgresql_url))
    stored: list[int] = []
    migrated, sent_some = asyncio.Event(), asyncio.Event()

    async def keep_sending() -> None:
        while not migrated.is_set() or len(stored) < 50:
            (one,) = await asyncio.wait_for(web.put([report(len(stored))]), 10)
            assert one.stored
            stored.append(len(stored))
            if len(stored) == 10:
                sent_some.set()

    sending = asyncio.create_task(keep_sending())
    await sent_some.wait()
    await upgrade(Store.RAW, postgresql_url)
    migrated.set()
    await sending
    assert await is_current(Store.RAW, postgresql_url)
    async with web.engine.connect() as connection:
        assert await connection.scalar(sa.text("SELECT count(*) FROM reports")) == len(stored)
    await web.close()


@pytest.mark.parametrize("store", list(Store))
async def test_a_store_goes_back_one_revision_and_forth(store_urls: dict[Store, str], store: Store) -> None:
    url = store_urls[store]
    assert not any(is_here for _, _, is_here in await history(store, url))
    await upgrade(store, url)
    newest, before, *_ = await history(store, url)
    assert newest[2]
    await downgrade(store, url, before[0])
    assert not await is_current(store, url)
    assert [name for name, _, is_here in await history(store, url) if is_here] == [before[0]]
    await upgrade(store, url)
    assert await is_current(store, url)
    with pytest.raises(UnknownRevisionError, match="no revision 9999"):
        await downgrade(store, url, "9999")


def test_the_command_goes_back_and_says_what_is_lost(tmp_path: Path) -> None:
    here = {"UPDATE_SERVER_DATA": str(tmp_path)}
    assert run("update_server", "db", "migrate", **here).returncode == 0
    listed = run("update_server", "db", "revisions", **here).stdout
    assert "raw 0001: The table of raw reports." in listed
    assert listed.count("(here)") == 2
    unasked = run("update_server", "db", "rollback", "aggregate", "0002", **here)
    assert (unasked.returncode, "certificates with their keys" in unasked.stdout) == (1, True), "nobody confirmed it"
    done = run("update_server", "db", "rollback", "aggregate", "0002", "--yes", **here)
    assert done.returncode == 0, done.stderr
    assert "0002: The index snapshot that replicas share. (here)" in run("update_server", "db", "revisions", **here).stdout
    assert run("update_server", "db", "rollback", "aggregate", "0009", "--yes", **here).returncode == 2
    assert run("update_server", "db", "migrate", **here).returncode == 0
