"""On PostgreSQL: nobody waits for a week's partition, and a week that is in order already is left alone.

``CREATE TABLE … PARTITION OF`` locks the whole table against everybody: the first report of a week would wait for an
aggregation that reads another week, all other reports would queue behind it, and two groups that bring first reports could wait
for each other in a circle. So a partition is made apart and then attached, before anything else of a group is stored.

``put_in_order`` leaves a week alone to which nothing came since the last time. SQLite needs none of it.
"""

from alembic import context, op

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

PUT = """
CREATE OR REPLACE FUNCTION put_reports(batch jsonb)
RETURNS TABLE (place integer, stored boolean, revision integer, reason text, is_new boolean) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_week text;
    item record;
    held record;
BEGIN
    -- First, so that nobody waits for a partition while others wait for a person that is stored here.
    FOR of_week IN SELECT DISTINCT value ->> 'week' COLLATE "C" FROM jsonb_array_elements(batch) ORDER BY 1 LOOP
        PERFORM SCHEMA.make_partition(of_week);
    END LOOP;
    -- In the order of the key, so that two processes which store the same reports can't wait for each other in a circle.
    FOR item IN
        SELECT * FROM (SELECT ordinality AS number, value ->> 'week' AS week, value ->> 'identifier' AS identifier,
            value ->> 'environment' AS environment, (value ->> 'revision')::integer AS rev, value ->> 'level' AS level,
            (value ->> 'schema_version')::integer AS schema_version, value -> 'document' AS document
        FROM jsonb_array_elements(batch) WITH ORDINALITY) AS items
        ORDER BY items.week COLLATE "C", items.identifier COLLATE "C", items.environment COLLATE "C", items.rev, items.number
    LOOP
        place := item.number;
        PERFORM pg_advisory_xact_lock(hashtextextended(item.week || item.identifier, 0));
        SELECT * INTO held FROM SCHEMA.reports r
        WHERE r.week = item.week AND r.identifier = item.identifier AND r.environment = item.environment;
        IF NOT FOUND THEN
            IF (SELECT count(*) FROM SCHEMA.reports r WHERE r.week = item.week AND r.identifier = item.identifier) >= 8 THEN
                stored := false; revision := item.rev; is_new := NULL;
                reason := 'there are 8 environments of this identifier already';
            ELSE
                INSERT INTO SCHEMA.reports VALUES (item.week, item.identifier, item.environment, item.rev, item.level,
                    item.schema_version, item.document);
                stored := true; revision := item.rev; reason := NULL; is_new := true;
            END IF;
        ELSIF held.revision < item.rev THEN
            UPDATE SCHEMA.reports r SET revision = item.rev, level = item.level, schema_version = item.schema_version,
                document = item.document
            WHERE r.week = item.week AND r.identifier = item.identifier AND r.environment = item.environment;
            stored := true; revision := item.rev; reason := NULL; is_new := false;
        ELSIF held.revision = item.rev AND held.level = item.level AND held.schema_version = item.schema_version
            AND held.document = item.document THEN
            stored := true; revision := held.revision; reason := NULL; is_new := NULL;
        ELSE
            stored := false; revision := held.revision; is_new := NULL;
            reason := format('revision %s of this report is held already', held.revision);
        END IF;
        RETURN NEXT;
    END LOOP;
END $$
"""

PUT_IN_ORDER = """
CREATE OR REPLACE FUNCTION put_in_order(of_week text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := 'reports_' || lower(replace(of_week, '-', '_'));
    transactions bigint;
BEGIN
    IF of_week !~ '^[0-9]{4}-W[0-9]{2}$' OR to_regclass('SCHEMA.' || name) IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT count(*) FROM (SELECT DISTINCT xmin::text FROM SCHEMA.%I LIMIT 2) AS different', name)
        INTO transactions;
    IF transactions < 2 THEN
        RETURN;  -- nothing came since the last time
    END IF;
    -- A table keeps rows where they came, and by which transaction. Written anew, all are of one, in the order of their key.
    -- All of them, and not the new ones alone, or those would be known as late. Whoever reads goes on reading the older state;
    -- whoever writes this week waits.
    EXECUTE format('LOCK TABLE SCHEMA.%I IN SHARE ROW EXCLUSIVE MODE', name);
    EXECUTE format('CREATE TEMPORARY TABLE in_order ON COMMIT DROP AS SELECT * FROM SCHEMA.%I', name);
    EXECUTE format('DELETE FROM SCHEMA.%I', name);
    EXECUTE format(
        'INSERT INTO SCHEMA.%I SELECT * FROM pg_temp.in_order ORDER BY identifier COLLATE "C", environment COLLATE "C"', name);
END $$
"""


def upgrade() -> None:
    for function in (MAKE_PARTITION, PUT, PUT_IN_ORDER):
        _replace(function)


def downgrade() -> None:
    before = context.script.get_revision(down_revision).module
    for function in (before.MAKE_PARTITION, before.PUT, before.PUT_IN_ORDER):
        _replace(function.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))


def _replace(function: str) -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
        connection.exec_driver_sql(function.replace("SCHEMA.", f"{schema}."))
