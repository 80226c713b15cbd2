"""Grant rights on the PostgreSQL stores to the roles.

The web process may only call the functions of the migration and has no rights on the table; the scheduler reads and drops
weeks. ``update-server db migrate`` grants the rights each time, so that roles added later get them.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aggregation.grafana import PUBLIC_TABLES
from aggregation.settings import Store
from aggregation.stores.engines import make_engine
from migrations import version_table

WEB_FUNCTIONS = (
    "put_reports(text, text[], text[], integer[], text[], integer[], text[])",
    "find_reports(text)",
    "delete_reports(text)",
)
OWNER_FUNCTIONS = ("make_partition(text)", "close_partition(text)")
SCHEDULER_FUNCTIONS = ("delete_reports(text)", "delete_reports_before(text)", "scrub_arrival_order(text)", "weeks_of_reports()")
READER = "grafana"
"""Created by deploy/postgres/roles.sh."""
APPEND_ONLY = {
    "inspections": "UPDATE, DELETE, TRUNCATE",
    "retractions": "UPDATE, DELETE, TRUNCATE",
    version_table(Store.AGGREGATE): "INSERT, UPDATE, DELETE, TRUNCATE",
}
"""Rights on append-only tables of the aggregate store, reserved for the owner."""
FUNCTIONS = tuple(dict.fromkeys((*WEB_FUNCTIONS, *OWNER_FUNCTIONS, *SCHEDULER_FUNCTIONS)))


def role_of(url: str | None) -> str | None:
    """Return the role in a PostgreSQL URL, or None."""
    if not url or not url.startswith("postgresql"):
        return None
    return sa.make_url(url).username


async def grant_raw(owner_url: str, web: str | None, scheduler: str | None) -> list[str]:
    """Grant rights on the raw store; return the roles that got them.

    A role that owns the store, as in a small installation, needs none.
    """
    owner = role_of(owner_url)
    engine = make_engine(owner_url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_revoke_all)
            granted = [role for role in dict.fromkeys((web, scheduler)) if role is not None and role != owner]
            for role in granted:
                is_web, is_scheduler = role == web, role == scheduler  # a small installation uses one role for both
                functions = dict.fromkeys((*WEB_FUNCTIONS * is_web, *SCHEDULER_FUNCTIONS * is_scheduler))
                await connection.run_sync(_grant, role, "SELECT" if is_scheduler else "", tuple(functions))
        return granted
    finally:
        await engine.dispose()


async def grant_public(owner_url: str) -> list[str]:
    """Protect append-only tables, and limit `READER` to the public tables; return it in a list if it exists."""
    engine = make_engine(owner_url)
    try:
        async with engine.begin() as connection:
            for table, rights in APPEND_ONLY.items():
                for role in await connection.run_sync(_grantees, "pg_class", "relacl", "relowner", "regclass", table):
                    await connection.execute(sa.text(f"REVOKE {rights} ON {table} FROM {role}"))
            if await connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": READER}) is None:
                return []
            await connection.execute(sa.text(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {READER}"))
            await connection.execute(sa.text(f"GRANT USAGE ON SCHEMA public TO {READER}"))
            for table in PUBLIC_TABLES:
                await connection.execute(sa.text(f"GRANT SELECT ON {table} TO {READER}"))
        return [READER]
    finally:
        await engine.dispose()


def _revoke_all(connection: Connection) -> None:
    partitions = connection.exec_driver_sql(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'reports'::regclass"
    )
    tables = [version_table(Store.RAW), "reports", *partitions.scalars().all()]
    for kind, names, catalogue, acl, owner, oid in (
        ("TABLE", tables, "pg_class", "relacl", "relowner", "regclass"),
        ("FUNCTION", FUNCTIONS, "pg_proc", "proacl", "proowner", "regprocedure"),
    ):
        for name in names:
            connection.exec_driver_sql(f"REVOKE ALL ON {kind} {name} FROM PUBLIC")
            for role in _grantees(connection, catalogue, acl, owner, oid, name):
                connection.exec_driver_sql(f"REVOKE ALL ON {kind} {name} FROM {role}")


def _grantees(connection: Connection, catalogue: str, acl: str, owner: str, oid: str, name: str) -> Sequence[str]:
    query = (
        f"SELECT DISTINCT quote_ident(pg_get_userbyid(entry.grantee)) FROM {catalogue} c, "  # noqa: S608 - our own names
        f"aclexplode(c.{acl}) AS entry WHERE c.oid = '{name}'::{oid} AND entry.grantee NOT IN (0, c.{owner})"
    )
    return connection.exec_driver_sql(query).scalars().all()


def _grant(connection: Connection, role: str, table_rights: str, functions: tuple[str, ...]) -> None:
    quoted = connection.dialect.identifier_preparer.quote(role)
    schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
    if table_rights:
        connection.exec_driver_sql(f"GRANT {table_rights} ON reports TO {quoted}")
    connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {quoted}")
    connection.exec_driver_sql(f"GRANT SELECT ON {version_table(Store.RAW)} TO {quoted}")
    for function in functions:
        connection.exec_driver_sql(f"GRANT EXECUTE ON FUNCTION {function} TO {quoted}")
