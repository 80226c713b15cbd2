"""Rights of the web process and the scheduler in the raw store on PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from napari_telemetry.weeks import end_of
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from aggregation.settings import Store
from aggregation.status import scrub_arrival_order
from aggregation.stores.engines import make_engine
from aggregation.stores.raw_postgresql import PostgresqlReports
from aggregation.stores.reports import Outcome
from migrations import is_current, upgrade
from migrations.rights import grant_raw
from tests.support.reports import WEEK, report

pytestmark = pytest.mark.postgresql
PASSWORD = "for-a-test-alone"


async def run(engine: AsyncEngine, statement: str) -> None:
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(sa.text(statement))


@pytest.fixture
async def urls(postgresql_url: str) -> AsyncIterator[dict[str, str]]:
    """URLs of a migrated raw store for three new roles."""
    names = {kind: f"{kind}_{uuid.uuid4().hex[:10]}" for kind in ("owner", "web", "scheduler")}
    admin = make_engine(postgresql_url)
    database = sa.make_url(postgresql_url).database
    for name in names.values():
        await run(admin, f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    await run(admin, f"GRANT CREATE, USAGE ON SCHEMA public TO {names['owner']}")
    made = {
        kind: sa.make_url(postgresql_url).set(username=name, password=PASSWORD).render_as_string(hide_password=False)
        for kind, name in names.items()
    }
    # A careless operator may have granted the web role access to all tables of the owner.
    owner = make_engine(made["owner"])
    await run(owner, f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO {names['web']}")
    await run(owner, "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO PUBLIC")
    await run(owner, "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO PUBLIC")
    await owner.dispose()
    await upgrade(Store.RAW, made["owner"])
    assert await grant_raw(made["owner"], names["web"], names["scheduler"]) == [names["web"], names["scheduler"]]
    yield made | {"web role": names["web"]}
    for name in names.values():
        await run(admin, f"GRANT {name} TO CURRENT_USER")
        await run(admin, f"DROP OWNED BY {name} CASCADE")
        await run(admin, f"DROP ROLE {name}")
    await admin.dispose()
    assert database


async def test_the_web_role_can_do_its_work(urls: dict[str, str]) -> None:
    web = PostgresqlReports(urls["web"])
    (stored,) = await web.put([report(1)])
    assert (stored.stored, stored.outcome) == (True, Outcome.NEW)
    (repeated,) = await web.put([report(1)])
    assert (repeated.stored, repeated.outcome) == (True, Outcome.REPEATED)
    assert len(await web.find(report(1).identifier)) == 1
    assert await web.delete(report(1).identifier) == 1
    assert await is_current(Store.RAW, urls["web"])
    await web.close()


FORBIDDEN = [
    "SELECT * FROM reports",
    "SELECT count(*) FROM reports",
    f"SELECT * FROM reports_{WEEK.lower().replace('-', '_')}",
    "INSERT INTO reports VALUES ('2026-W40', 'x', 'y', 1, 'basic', 1, '{}')",
    "UPDATE reports SET revision = 9",
    "DELETE FROM reports",
    f"DELETE FROM reports_{WEEK.lower().replace('-', '_')}",
    "TRUNCATE reports",
    "DROP TABLE reports",
    "ALTER TABLE reports ADD COLUMN came_at timestamptz",
    "CREATE TABLE mine (x int)",
    "CREATE INDEX mine ON reports (identifier)",
    "COPY reports TO STDOUT",
    "SELECT delete_reports_before('2099-W01')",
    "SELECT make_partition('2026-W41')",
    "SELECT scrub_arrival_order('2026-W40')",
    "SELECT close_partition('reports')",
    "CREATE OR REPLACE FUNCTION find_reports(of_identifier text) RETURNS SETOF reports LANGUAGE sql AS 'SELECT * FROM reports'",
    "ALTER FUNCTION find_reports(text) SECURITY INVOKER",
    "UPDATE alembic_version_raw SET version_num = '0001'",
    "CREATE SCHEMA mine",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_web_role_is_denied_everything_else(urls: dict[str, str], statement: str) -> None:
    web = PostgresqlReports(urls["web"])
    await web.put([report(1)])
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        await run(web.engine, statement)
    assert len(await web.find(report(1).identifier)) == 1
    await web.close()


async def test_functions_ignore_temporary_objects_of_the_caller(urls: dict[str, str]) -> None:
    """Attack on SECURITY DEFINER: temporary objects of the caller come first in the search path."""
    store = PostgresqlReports(urls["web"])
    await store.put([report(1)])
    await store.close()
    web = make_engine(urls["web"])
    async with web.begin() as connection:
        await connection.execute(sa.text("CREATE TEMPORARY TABLE reports (week text, identifier text)"))
        await connection.execute(sa.text("CREATE TEMPORARY TABLE pg_inherits (inhrelid oid, inhparent oid)"))
        await connection.execute(sa.text("SET search_path = pg_temp, pg_catalog, public"))
        who = {"who": report(1).identifier}
        assert len((await connection.execute(sa.text("SELECT * FROM public.find_reports(:who)"), who)).all()) == 1
        assert await connection.scalar(sa.text("SELECT public.delete_reports(:who)"), who) == 1
    await web.dispose()


async def test_the_scheduler_can_read_and_purge_but_not_store(urls: dict[str, str]) -> None:
    web, scheduler = PostgresqlReports(urls["web"]), PostgresqlReports(urls["scheduler"])
    await web.put([report(1), report(2, week="2026-W30")])
    assert await scheduler.weeks() == ["2026-W30", WEEK]
    assert await scheduler.delete_before(WEEK) == 1
    assert await scheduler.weeks() == [WEEK]
    with pytest.raises(ProgrammingError, match="permission denied"):
        await scheduler.put([report(3)])
    with pytest.raises(ProgrammingError, match="permission denied"):
        await run(scheduler.engine, "DELETE FROM reports")
    await asyncio.gather(web.close(), scheduler.close())


async def test_a_purged_week_leaves_no_table_behind(urls: dict[str, str]) -> None:
    web, owner = PostgresqlReports(urls["web"]), PostgresqlReports(urls["owner"])
    await web.put([report(1, week="2026-W30")])
    await owner.delete_before("2026-W31")
    async with owner.engine.connect() as connection:
        left = (await connection.execute(sa.text("SELECT relname FROM pg_class WHERE relname LIKE 'reports\\_2%'"))).all()
    assert left == []
    await asyncio.gather(web.close(), owner.close())


async def test_arrival_order_is_scrubbed_after_the_week(urls: dict[str, str]) -> None:
    """Neither the position of a row nor its transaction ID reveals when it arrived."""
    web, scheduler, owner = (PostgresqlReports(urls[role]) for role in ("web", "scheduler", "owner"))
    for person in (9, 2, 7, 4, 1):
        await web.put([report(person)])
    now = end_of(WEEK) + timedelta(hours=1)
    for _ in range(2):
        assert await scrub_arrival_order(scheduler, now) == [WEEK]
        async with owner.engine.connect() as connection:
            rows = (await connection.execute(sa.text("SELECT identifier, xmin::text FROM reports ORDER BY ctid"))).all()
        assert [row[0] for row in rows] == [report(person).identifier for person in (1, 2, 4, 7, 9)]
        assert len({row[1] for row in rows}) == 1
        (stored,) = await web.put([report(3, revision=2)])
        assert stored.stored
        assert await web.delete(report(3).identifier) == 1
    with pytest.raises(ProgrammingError, match="permission denied"):
        await run(web.engine, f"SELECT * FROM reports_{WEEK.lower().replace('-', '_')}")
    assert await scheduler.weeks() == [WEEK]
    assert await scrub_arrival_order(scheduler, now + timedelta(days=30)) == []
    await asyncio.gather(web.close(), scheduler.close(), owner.close())


async def test_a_replaced_role_loses_its_rights(urls: dict[str, str]) -> None:
    web, former = PostgresqlReports(urls["web"]), PostgresqlReports(urls["scheduler"])
    await web.put([report(1)])
    await grant_raw(urls["owner"], urls["web role"], None)
    for statement in ("SELECT * FROM reports", "SELECT delete_reports_before('2099-W01')", "SELECT delete_reports('x')"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            await run(former.engine, statement)
    assert len(await web.find(report(1).identifier)) == 1
    await asyncio.gather(web.close(), former.close())


async def test_one_role_can_do_the_work_of_web_and_scheduler(urls: dict[str, str]) -> None:
    role = urls["web role"]
    assert await grant_raw(urls["owner"], role, role) == [role]
    both = PostgresqlReports(urls["web"])
    await both.put([report(1, week="2026-W30")])
    assert await both.weeks() == ["2026-W30"]
    assert await both.delete_before(WEEK) == 1
    await both.close()
