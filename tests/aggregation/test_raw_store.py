from __future__ import annotations

import asyncio
import hashlib
import os
import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aggregation.settings import Store
from aggregation.stores import raw as raw_module
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import REPORTS, RawStore
from aggregation.stores.reports import MOST_ENVIRONMENTS, NewReport
from tests.support.reports import WEEK, report
from tests.support.stores import migrated


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


async def test_another_report_of_the_same_revision_is_not_taken(raw: RawStore) -> None:
    await raw.put([report(1)])
    (stored,) = await raw.put([report(1, python_version="3.12")])
    assert not stored.stored
    (held,) = await raw.find(report(1).identifier)
    assert held.document["python_version"] == "3.11"


async def test_eight_environments_of_an_identifier_are_kept_for_a_week(raw: RawStore) -> None:
    results = await raw.put([report(1, environment) for environment in range(MOST_ENVIRONMENTS + 1)])
    assert [result.stored for result in results] == [True] * MOST_ENVIRONMENTS + [False]
    assert "8 environments" in str(results[-1].reason)
    (again,) = await raw.put([report(1, 0, revision=2)])
    assert again.stored, "one that is there already may be replaced"
    (other_week,) = await raw.put([report(1, 99, week="2026-W41")])
    assert other_week.stored


async def test_at_once_the_highest_revision_wins(raw: RawStore) -> None:
    await asyncio.gather(*(raw.put([report(1, revision=revision)]) for revision in range(1, 12)))
    assert await revisions(raw) == [11]


async def test_deleting_takes_all_weeks_of_one_identifier_alone(raw: RawStore) -> None:
    await raw.put([report(1), report(1, 1), report(1, week="2026-W41"), report(2)])
    assert await raw.delete(report(1).identifier) == 3
    assert await raw.find(report(1).identifier) == []
    assert await raw.delete(report(1).identifier) == 0
    assert await revisions(raw, 2) == [1]


async def test_weeks_are_listed_each_once_in_order(raw: RawStore) -> None:
    assert await raw.weeks() == []
    await raw.put([report(person, week=week) for person in range(3) for week in ("2026-W41", "2026-W39", "2026-W40")])
    assert await raw.weeks() == ["2026-W39", "2026-W40", "2026-W41"]


@pytest.mark.promise("no-address-no-time")
async def test_no_column_could_tell_when_a_report_came(raw: RawStore) -> None:
    assert {column.name for column in REPORTS.c} == {
        "week", "identifier", "environment", "revision", "level", "schema_version", "document",
    }  # fmt: skip
    assert [column.name for column in REPORTS.primary_key] == ["week", "identifier", "environment"]
    if raw.engine.dialect.name == "sqlite":
        async with raw.engine.connect() as connection:
            with pytest.raises(sa.exc.OperationalError, match="no such column"):
                await connection.execute(sa.text("SELECT rowid FROM reports"))


@pytest.mark.promise("deleted-is-gone")
async def test_deleted_is_in_no_file_any_more(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'raw.sqlite3'}"
    await migrated(Store.RAW, url)
    raw = RawStore(make_engine(url))
    marked = [report(person, sys_name=f"MARK-{person:04}") for person in range(200)]
    await raw.put(marked)
    for item in marked:
        await raw.delete(item.identifier)
    assert await raw.erase()  # where one took long, as on a busy machine, the next are left to this
    for path in tmp_path.iterdir():
        assert b"MARK-" not in path.read_bytes(), path.name
    await raw.close()


async def test_a_large_file_is_written_anew_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports wait meanwhile; so nobody who deletes, and no job, makes them wait again and again."""
    monkeypatch.setattr(raw_module, "SMALL", 0)
    rewritten: list[bool] = []
    real = raw_module._rewrite

    def noted(connection: sa.Connection, is_due: bool) -> Any:
        outcome = real(connection, is_due)
        rewritten.append(outcome.is_rewritten)
        return outcome

    monkeypatch.setattr(raw_module, "_rewrite", noted)
    url = f"sqlite+aiosqlite:///{tmp_path / 'raw.sqlite3'}"
    await migrated(Store.RAW, url)
    raw = RawStore(make_engine(url))
    await raw.put([report(person, sys_name=f"MARK-{person:04}") for person in range(20)])
    assert await raw.delete(report(1).identifier) == 1
    assert rewritten == []  # not while somebody waits for the answer
    assert await raw.erase()
    await raw.delete(report(2).identifier)
    assert await raw.erase() is False
    assert await RawStore(raw.engine).erase() is False  # nor by another process
    assert rewritten == [True]
    mark = tmp_path / "raw.sqlite3.written-anew"
    os.utime(mark, (0, 0))
    assert await raw.erase()
    await raw.delete(report(3).identifier)
    assert await raw.erase(at_once=True)  # as the operator's commands do
    assert rewritten == [True, True, True]
    assert b"MARK-0003" not in (tmp_path / "raw.sqlite3").read_bytes()
    await raw.close()


@pytest.mark.postgresql
async def test_first_reports_of_weeks_come_at_once_and_nobody_waits_in_a_circle(migrated_postgresql_url: str) -> None:
    stores = [RawStore(make_engine(migrated_postgresql_url)) for _ in range(4)]
    await stores[0].put([report(1, week="2026-W30")])
    weeks = [f"2026-W{number}" for number in range(31, 38)]
    dice = random.Random(5)
    for week in weeks:
        groups = []
        for store in stores:
            group = [report(dice.randrange(50), week=each) for each in ("2026-W30", week, "2026-W29") for _ in range(10)]
            groups.append(store.put(dice.sample(group, len(group))))
        await asyncio.gather(*groups)  # raises where one was a deadlock's victim
    assert await stores[0].weeks() == ["2026-W29", "2026-W30", *weeks]
    for store in stores:
        await store.close()


@pytest.mark.promise("no-order-of-arrival")
@pytest.mark.postgresql
async def test_a_week_that_is_in_order_is_left_alone_and_late_reports_are_put_in_order(migrated_postgresql_url: str) -> None:
    raw = RawStore(make_engine(migrated_postgresql_url))
    people = list(range(1200))
    random.Random(6).shuffle(people)
    for start in range(0, 1200, 100):
        await raw.put([report(person) for person in people[start : start + 100]])

    async def transactions() -> dict[str, int]:
        async with raw.engine.connect() as connection:
            rows = await connection.execute(sa.text("SELECT xmin::text, count(*) FROM reports GROUP BY 1"))
            return {str(xmin): int(number) for xmin, number in rows}

    assert len(await transactions()) == 12
    await raw.put_in_order(WEEK)
    first = await transactions()
    assert list(first.values()) == [1200]
    await raw.put_in_order(WEEK)
    assert await transactions() == first
    for person in (5003, 5001, 5002):
        await raw.put([report(person)])
    await raw.put_in_order(WEEK)
    assert list((await transactions()).values()) == [1203], "nor can anybody tell who was late"
    async with raw.engine.connect() as connection:
        held = (await connection.execute(sa.text("SELECT identifier FROM reports ORDER BY ctid"))).scalars().all()
    assert list(held) == sorted(held)
    await raw.close()


async def test_deleted_is_not_left_in_the_free_space_of_pages_that_others_are_in(tmp_path: Path) -> None:
    """SQLite copies rows between pages and leaves the old copies where nothing is stored, whatever secure_delete says."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'raw.sqlite3'}"
    await migrated(Store.RAW, url)
    raw, dice = RawStore(make_engine(url)), random.Random(3)
    people = [hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(2500)]

    def made(identifier: str, revision: int) -> NewReport:
        document = {"sys_name": "x" * dice.randrange(100, 900)}
        return NewReport(WEEK, identifier, "00000001", revision, "basic", 1, document)

    for revision in (1, 2):
        for start in range(0, len(people), 50):
            await raw.put([made(person, revision) for person in people[start : start + 50]])
    gone = people[::2]
    async with raw.engine.execution_options(sqlite_begin="BEGIN IMMEDIATE").begin() as connection:
        await connection.execute(sa.delete(REPORTS).where(REPORTS.c.identifier.in_(gone[1:])))
    await raw.delete(gone[0])
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert [person for person in gone if person.encode() in content] == []
    assert all(person.encode() in content for person in people[1::2])
    await raw.close()


@pytest.mark.usefixtures("durable_sqlite")
async def test_a_report_is_durable_before_it_is_acknowledged(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'raw.sqlite3'}"
    await migrated(Store.RAW, url)
    raw = RawStore(make_engine(url))
    async with raw.engine.connect() as connection:
        assert await connection.scalar(sa.text("PRAGMA synchronous")) == 2, "FULL"
        assert await connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        assert await connection.scalar(sa.text("PRAGMA secure_delete")) == 1
    await raw.put([report(1)])
    other = RawStore(make_engine(url))
    assert len(await other.find(report(1).identifier)) == 1
    assert await other.weeks() == [WEEK]
    await raw.close()
    await other.close()


async def test_deleted_is_gone_as_soon_as_nobody_reads_an_older_state(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'raw.sqlite3'}"
    await migrated(Store.RAW, url)
    raw, reader = RawStore(make_engine(url)), make_engine(url)
    await raw.put([report(1, sys_name="MARK")])
    async with reader.connect() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(REPORTS)) == 1
        assert await raw.delete(report(1).identifier) == 1
        assert not raw.is_erased, "the reader still needs the old pages"
        assert not await raw.erase()
        await raw.put([report(2)])  # and intake goes on
    assert await raw.erase()
    for path in tmp_path.iterdir():
        assert b"MARK" not in path.read_bytes(), path.name
    await raw.close()
    await reader.dispose()


async def test_what_a_killed_process_left_in_the_log_is_erased_by_the_next(tmp_path: Path) -> None:
    import os
    import sys

    url = f"sqlite+aiosqlite:///{tmp_path / 'raw.sqlite3'}"
    await migrated(Store.RAW, url)
    code = """
import asyncio, os, sys
import sqlalchemy as sa
from aggregation.stores import raw as raw_module
from aggregation.stores.engines import make_engine
from aggregation.stores.raw import REPORTS, RawStore, _of
from tests.support.reports import report
async def main():
    raw = RawStore(make_engine(sys.argv[1]))
    await raw.put([report(1, sys_name="MARK")])
    async with raw.engine.begin() as connection:
        await connection.execute(sa.delete(REPORTS))
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, url, cwd=root, env=os.environ | {"PYTHONPATH": str(root)}
    )
    assert await process.wait() == -9
    assert any(b"MARK" in path.read_bytes() for path in tmp_path.iterdir())
    raw = RawStore(make_engine(url))
    assert await raw.erase()
    assert not any(b"MARK" in path.read_bytes() for path in tmp_path.iterdir())
    await raw.close()


async def test_the_store_is_for_nobody_else_and_its_errors_name_nobody(raw: RawStore, tmp_path: Path) -> None:
    assert raw.engine.sync_engine.hide_parameters
    for path in tmp_path.glob("*.sqlite3"):
        assert path.stat().st_mode & 0o077 == 0


async def test_at_once_in_every_order_nothing_deadlocks_and_eight_environments_stay_eight(raw: RawStore) -> None:
    dice = random.Random(1)
    many = [report(person, environment) for person in range(20) for environment in range(2)]
    groups = [dice.sample(many, len(many)) for _ in range(12)]
    outcomes = await asyncio.gather(*(raw.put(group) for group in groups))
    assert all(stored.stored for group in outcomes for stored in group)
    one_person = await asyncio.gather(*(raw.put([report(99, environment)]) for environment in range(20)))
    assert sum(stored.stored for (stored,) in one_person) == MOST_ENVIRONMENTS
    assert len(await raw.find(report(99).identifier)) == MOST_ENVIRONMENTS
