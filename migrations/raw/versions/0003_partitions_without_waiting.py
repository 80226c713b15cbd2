"""On PostgreSQL: a week's partition is made and then attached, which waits for nobody who reads the others.

``CREATE TABLE … PARTITION OF`` locks the whole table against everybody; so the first report of a week would wait for an
aggregation that reads another week, and all other reports behind it. SQLite needs none of it.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

MAKE_PARTITION = """
CREATE OR REPLACE FUNCTION make_partition(of_week text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := 'reports_' || lower(replace(of_week, '-', '_'));
BEGIN
    IF of_week !~ '^[0-9]{4}-W[0-9]{2}$' THEN
        RAISE EXCEPTION 'no ISO week: %', of_week;
    END IF;
    IF to_regclass('SCHEMA.' || name) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('SCHEMA.reports'));
        EXECUTE format('CREATE TABLE IF NOT EXISTS SCHEMA.%I (LIKE SCHEMA.reports)', name);
        IF NOT (SELECT relispartition FROM pg_class WHERE oid = to_regclass('SCHEMA.' || name)) THEN  -- not made meanwhile
            PERFORM SCHEMA.close_partition(name);
            EXECUTE format('ALTER TABLE SCHEMA.reports ATTACH PARTITION SCHEMA.%I FOR VALUES IN (%L)', name, of_week);
        END IF;
    END IF;
END $$
"""

MAKE_PARTITION_BEFORE = """
CREATE OR REPLACE FUNCTION make_partition(of_week text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := 'reports_' || lower(replace(of_week, '-', '_'));
BEGIN
    IF of_week !~ '^[0-9]{4}-W[0-9]{2}$' THEN
        RAISE EXCEPTION 'no ISO week: %', of_week;
    END IF;
    IF to_regclass('SCHEMA.' || name) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('SCHEMA.reports'));
        EXECUTE format('CREATE TABLE IF NOT EXISTS SCHEMA.%I PARTITION OF SCHEMA.reports FOR VALUES IN (%L)', name, of_week);
        PERFORM SCHEMA.close_partition(name);
    END IF;
END $$
"""


def upgrade() -> None:
    _replace(MAKE_PARTITION)


def downgrade() -> None:
    _replace(MAKE_PARTITION_BEFORE)


def _replace(function: str) -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
        connection.exec_driver_sql(function.replace("SCHEMA.", f"{schema}."))
