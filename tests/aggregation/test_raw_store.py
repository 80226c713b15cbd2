from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from aggregation.settings import Store
from aggregation.stores import raw_sqlite
from aggregation.stores.raw import RawStore, open_raw_store
from aggregation.stores.raw_postgresql import PostgresqlReports
from aggregation.stores.raw_sqlite import SqliteReports
from aggregation.stores.reports import MAX_ENVIRONMENTS, Report
from tests.support.reports import WEEK, report
from tests.support.stores import migrated, sqlite_urls


async def revisions(raw: RawStore, person: int = 1) -> list[int]:
    return [found.revision for found in await raw.find(report(person).identifier)]


async def test_the_highest_revision_is_kept_and_replaces_the_whole_report(raw: RawStore) -> None:
    (first,) = await raw.put([report(1, revision=2, level="full")])
    (second,) = await raw.put([report(1, revision=3, level="basic")])
    (late,) = await raw.put([report(1, revision=2, level="full")])
    assert (first.stored, second.stored, late.stored) == (True, True, False)
    assert late.revision == 3
    (held,) = await raw.find(report(1).identifier)
    assert (held.revision, held.level) == (3, "basic")
    assert "plugins" not in held.document


async def test_a_repeat_counts_as_stored_and_changes_nothing(raw: RawStore) -> None:
    for _ in range(3):
        (stored,) = await raw.put([report(1)])
        assert (stored.stored, stored.revision, stored.reason) == (True, 1, None)
    assert await revisions(raw) == [1]


async def test_another_report_of_the_same_revision_is_rejected(raw: RawStore) -> None:
    await raw.put([report(1)])
    (stored,) = await raw.put([report(1, python_version="3.12")])
    assert not stored.stored
    (held,) = await raw.find(report(1).identifier)
    assert held.document["python_version"] == "3.11"


async def test_a_week_keeps_eight_environments_per_identifier(raw: RawStore) -> None:
    results = await raw.put([report(1, environment) for environment in range(MAX_ENVIRONMENTS + 1)])
    assert [result.stored for result in results] == [True] * MAX_ENVIRONMENTS + [False]
    assert "8 environments" in str(results[-1].reason)
    (again,) = await raw.put([report(1, 0, revision=2)])
    assert again.stored, "a known environment may be replaced"
    (other_week,) = await raw.put([report(1, 99, week="2026-W41")])
    assert other_week.stored


async def test_the_highest_of_concurrent_revisions_wins(raw: RawStore) -> None:
    await asyncio.gather(*(raw.put([report(1, revision=revision)]) for revision in range(1, 12)))
    assert await revisions(raw) == [11]


async def test_deletion_covers_all_weeks_of_one_identifier_only(raw: RawStore) -> None:
    await raw.put([report(1), report(1, 1), report(1, week="2026-W41"), report(2)])
    assert await raw.delete(report(1).identifier) == 3
    assert await raw.find(report(1).identifier) == []
    assert await raw.delete(report(1).identifier) == 0
    assert await revisions(raw, 2) == [1]


async def test_weeks_are_listed_once_and_in_order(raw: RawStore) -> None:
    assert await raw.weeks() == []
    await raw.put([report(person, week=week) for person in range(3) for week in ("2026-W41", "2026-W39", "2026-W40")])
    assert await raw.weeks() == ["2026-W39", "2026-W40", "2026-W41"]


@pytest.mark.promise("no-address-no-time")
async def test_no_column_reveals_when_a_report_arrived(raw: RawStore, tmp_path: Path) -> None:
    await raw.put([report(1)])
    kept = {"identifier", "environment", "revision", "level", "schema_version", "document"}
    if isinstance(raw, PostgresqlReports):
        async with raw.engine.connect() as connection:
            query = "SELECT column_name FROM information_schema.columns WHERE table_name LIKE 'reports%'"
            assert set((await connection.execute(sa.text(query))).scalars()) == kept | {"week"}
        return
    with closing(sqlite3.connect(tmp_path / "raw" / f"{WEEK}.sqlite3")) as database:
        assert [name for (name,) in database.execute("SELECT name FROM sqlite_master")] == ["reports"]
        assert {column for _, column, *_ in database.execute("PRAGMA table_info(reports)")} == kept
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            database.execute("SELECT rowid FROM reports")


async def on_sqlite(folder: Path) -> SqliteReports:
    url = sqlite_urls(folder)[Store.RAW]
    await migrated(Store.RAW, url)
    return SqliteReports(url)


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.promise("deleted-is-gone")
async def test_deleted_reports_are_erased_from_all_files(tmp_path: Path) -> None:
    raw = await on_sqlite(tmp_path)
    marked = [report(person, sys_name=f"MARK-{person:04}") for person in range(200)]
    await raw.put(marked)
    assert b"MARK-" in everything_in(tmp_path)
    assert await asyncio.gather(*(raw.delete(item.identifier) for item in marked)) == [1] * 200
    assert b"MARK-" not in everything_in(tmp_path)
    await raw.close()


async def test_concurrent_deletions_share_a_rewrite_and_do_not_block_intake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = await on_sqlite(tmp_path)
    await raw.put([report(person) for person in range(100)])
    turns: list[int] = []
    real = raw._delete_all

    def noted(identifiers: Sequence[str]) -> dict[str, int]:
        turns.append(len(identifiers))
        return real(identifiers)

    monkeypatch.setattr(raw, "_delete_all", noted)
    deleting = [asyncio.create_task(raw.delete(report(person).identifier)) for person in range(50)]
    await asyncio.sleep(0)
    (stored,) = await raw.put([report(200)])
    assert stored.stored
    assert await asyncio.gather(*deleting) == [1] * 50
    assert turns == [50]
    began = time.monotonic()
    rests_until = raw._paused_until
    assert rests_until > began
    assert await raw.delete(report(60).identifier) == 1
    assert time.monotonic() >= rests_until
    await raw.close()


@pytest.mark.promise("no-order-of-arrival")
async def test_a_scrubbed_file_does_not_depend_on_arrival_order(tmp_path: Path) -> None:
    contents = []
    for seed in (1, 2):
        people = list(range(600))
        random.Random(seed).shuffle(people)
        raw = await on_sqlite(tmp_path / str(seed))
        for start in range(0, 600, 50):
            await raw.put([report(person) for person in people[start : start + 50]])
        before = everything_in(tmp_path / str(seed))
        await raw.scrub_arrival_order(WEEK)
        await raw.close()
        contents.append((before, everything_in(tmp_path / str(seed))))
    (before, after), (other_before, other_after) = contents
    assert before != other_before
    assert after == other_after


@pytest.mark.postgresql
async def test_concurrent_first_reports_of_weeks_do_not_deadlock(migrated_postgresql_url: str) -> None:
    stores = [open_raw_store(migrated_postgresql_url) for _ in range(4)]
    await stores[0].put([report(1, week="2026-W30")])
    weeks = [f"2026-W{number}" for number in range(31, 38)]
    dice = random.Random(5)
    for week in weeks:
        groups = []
        for store in stores:
            group = [report(dice.randrange(50), week=each) for each in ("2026-W30", week, "2026-W29") for _ in range(10)]
            groups.append(store.put(dice.sample(group, len(group))))
        await asyncio.gather(*groups)  # raises on a deadlock
    assert await stores[0].weeks() == ["2026-W29", "2026-W30", *weeks]
    for store in stores:
        await store.close()


@pytest.mark.promise("no-order-of-arrival")
@pytest.mark.postgresql
async def test_a_scrubbed_week_is_left_alone_and_late_reports_are_scrubbed(
    migrated_postgresql_url: str,
) -> None:
    raw = PostgresqlReports(migrated_postgresql_url)
    people = list(range(1200))
    random.Random(6).shuffle(people)
    for start in range(0, 1200, 100):
        await raw.put([report(person) for person in people[start : start + 100]])

    async def transactions() -> dict[str, int]:
        async with raw.engine.connect() as connection:
            rows = await connection.execute(sa.text("SELECT xmin::text, count(*) FROM reports GROUP BY 1"))
            return {str(xmin): int(number) for xmin, number in rows}

    assert len(await transactions()) == 12
    await raw.scrub_arrival_order(WEEK)
    first = await transactions()
    assert list(first.values()) == [1200]
    await raw.scrub_arrival_order(WEEK)
    assert await transactions() == first
    for person in (5003, 5001, 5002):
        await raw.put([report(person)])
    await raw.scrub_arrival_order(WEEK)
    assert list((await transactions()).values()) == [1203], "late reports can't be recognized"
    async with raw.engine.connect() as connection:
        held = (await connection.execute(sa.text("SELECT identifier FROM reports ORDER BY ctid"))).scalars().all()
    assert list(held) == sorted(held)
    await raw.close()


async def test_deleted_reports_are_not_left_in_free_space_of_shared_pages(tmp_path: Path) -> None:
    """SQLite moves rows between pages and leaves old copies in free space, even with secure_delete."""
    raw, dice = await on_sqlite(tmp_path), random.Random(3)
    people = [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(2500)]

    def made(identifier: str, revision: int) -> Report:
        document = {"sys_name": "x" * dice.randrange(100, 900)}
        return Report(WEEK, identifier, "00000001", revision, "basic", 1, document)

    for revision in (1, 2):
        for start in range(0, len(people), 50):
            await raw.put([made(person, revision) for person in people[start : start + 50]])
    gone = people[::2]
    await asyncio.gather(*(raw.delete(person) for person in gone))
    content = everything_in(tmp_path)
    assert [person for person in gone if person.encode() in content] == []
    assert all(person.encode() in content for person in people[1::2])
    await raw.close()


@pytest.mark.usefixtures("durable_sqlite")
async def test_a_report_is_durable_before_it_is_acknowledged(tmp_path: Path) -> None:
    raw = await on_sqlite(tmp_path)
    await raw.put([report(1)])
    (database,) = raw._open_weeks.values()
    pragmas = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode", "secure_delete")]
    assert pragmas == [2, "wal", 1], "synchronous = FULL"
    other = await on_sqlite(tmp_path)
    assert len(await other.find(report(1).identifier)) == 1
    assert await other.weeks() == [WEEK]
    await raw.close()
    await other.close()


async def test_a_reader_delays_deletion_in_its_week_but_not_writes_to_others(tmp_path: Path) -> None:
    raw = await on_sqlite(tmp_path)
    await raw.put([report(1, sys_name="MARK"), report(2, week="2026-W41")])
    with closing(sqlite3.connect(tmp_path / "raw" / f"{WEEK}.sqlite3", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM reports").fetchall()
        deleting = asyncio.create_task(raw.delete(report(1).identifier))
        (stored,) = await raw.put([report(3, week="2026-W41")])
        assert stored.stored
        assert not deleting.done()
        reader.execute("COMMIT")
        assert await deleting == 1
    assert b"MARK" not in everything_in(tmp_path)
    await raw.close()


async def test_a_long_read_of_a_week_does_not_stop_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = await on_sqlite(tmp_path)
    await raw.put([report(1, sys_name="MARK"), report(1, week="2026-W41", sys_name="MARK")])
    monkeypatch.setattr(raw_sqlite, "LOCK_TIMEOUT_S", 0.1)
    monkeypatch.setattr(raw_sqlite, "PAUSE_FACTOR", 0)
    with closing(sqlite3.connect(tmp_path / "raw" / f"{WEEK}.sqlite3", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM reports").fetchall()
        with pytest.raises(OperationalError, match="older snapshot"):
            await raw.delete(report(1).identifier)
        assert await raw.find(report(1).identifier) == []
        reader.execute("COMMIT")
    assert await raw.delete(report(1).identifier) == 0
    assert b"MARK" not in everything_in(tmp_path)
    await raw.close()


async def test_a_deletion_killed_midway_changes_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    raw = await on_sqlite(tmp_path)
    await raw.put([report(1, sys_name="MARK"), report(2)])
    await raw.close()
    code = """
import asyncio, os, sys
from aggregation.stores import raw_sqlite
from tests.support.reports import report
raw_sqlite._COPY = "INSERT INTO reports SELECT * FROM former WHERE dies() AND identifier <> ?"
connect = raw_sqlite.SqliteReports._connect
def connected(self, week):
    database = connect(self, week)
    database.execute("PRAGMA cache_spill = 1")
    database.create_function("dies", 0, lambda: os.kill(os.getpid(), 9))
    return database
raw_sqlite.SqliteReports._connect = connected
asyncio.run(raw_sqlite.SqliteReports(sys.argv[1]).delete(report(1).identifier))
"""
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, raw.url, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )
    assert await process.wait() == -9
    again = await on_sqlite(tmp_path)
    assert len(await again.find(report(1).identifier)) == 1
    assert await again.delete(report(1).identifier) == 1
    assert b"MARK" not in everything_in(tmp_path)
    assert len(await again.find(report(2).identifier)) == 1
    await again.close()


async def test_a_week_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    raw = await on_sqlite(tmp_path)
    await raw.put([report(1)])
    with closing(sqlite3.connect(tmp_path / "raw" / f"{WEEK}.sqlite3")) as database:
        database.execute("PRAGMA user_version = 2")
    other = SqliteReports(raw.url)
    for work in (other.put([report(2)]), other.find(report(1).identifier), other.weeks(), asyncio.to_thread(other.prepare)):
        with pytest.raises(OperationalError, match="newer version"):
            await work
    await raw.close()
    await other.close()


async def test_the_store_is_private_and_its_errors_hide_parameters(raw: RawStore, tmp_path: Path) -> None:
    if isinstance(raw, PostgresqlReports):
        assert raw.engine.sync_engine.hide_parameters
    else:
        assert (tmp_path / "raw").stat().st_mode & 0o077 == 0


async def test_concurrent_puts_neither_deadlock_nor_exceed_eight_environments(raw: RawStore) -> None:
    dice = random.Random(1)
    many = [report(person, environment) for person in range(20) for environment in range(2)]
    groups = [dice.sample(many, len(many)) for _ in range(12)]
    outcomes = await asyncio.gather(*(raw.put(group) for group in groups))
    assert all(stored.stored for group in outcomes for stored in group)
    one_person = await asyncio.gather(*(raw.put([report(99, environment)]) for environment in range(20)))
    assert sum(stored.stored for (stored,) in one_person) == MAX_ENVIRONMENTS
    assert len(await raw.find(report(99).identifier)) == MAX_ENVIRONMENTS
