"""The table of raw reports; on PostgreSQL in partitions by week, with the functions by which roles without rights use it.

Dropping a partition deletes a week and leaves nothing behind. The functions run with their owner's rights (``SECURITY
DEFINER``), so the web process needs none on the table: it can store reports, and find and delete those of an identifier that it
is given, but it cannot list any. SQLite needs neither.

``CREATE TABLE … PARTITION OF`` would lock the whole table: the first report of a week would wait for a count that reads another
week, and all other reports would queue behind it. So `make_partition` creates a table and attaches it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TABLE = """
CREATE TABLE reports (
    week varchar(8) NOT NULL, identifier varchar(32) NOT NULL, environment varchar(8) NOT NULL, revision integer NOT NULL,
    level varchar(6) NOT NULL, schema_version integer NOT NULL, document jsonb NOT NULL,
    PRIMARY KEY (week, identifier, environment)
) PARTITION BY LIST (week)
"""

CLOSE_PARTITION = """
CREATE FUNCTION close_partition(name text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    grantee record;
BEGIN
    -- Revoke default privileges: a partition is reached only through the table.
    EXECUTE format('REVOKE ALL ON SCHEMA.%I FROM PUBLIC', name);
    FOR grantee IN
        SELECT DISTINCT pg_get_userbyid(entry.grantee) AS role
        FROM pg_class, aclexplode(pg_class.relacl) AS entry
        WHERE pg_class.oid = to_regclass('SCHEMA.' || name) AND entry.grantee NOT IN (0, pg_class.relowner)
    LOOP
        EXECUTE format('REVOKE ALL ON SCHEMA.%I FROM %I', name, grantee.role);
    END LOOP;
END $$
"""

MAKE_PARTITION = """
CREATE FUNCTION make_partition(of_week text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
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
CREATE FUNCTION put_reports(batch jsonb)
RETURNS TABLE (place integer, stored boolean, revision integer, reason text, is_new boolean) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_week text;
    item record;
    held record;
BEGIN
    -- First, so that no session waits for a partition while it holds the lock of an identifier.
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

WEEKS = """
CREATE FUNCTION weeks_of_reports() RETURNS SETOF text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT upper(replace(substr(relname, 9), '_', '-')) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'SCHEMA.reports'::regclass ORDER BY 1
$$
"""

FIND = """
CREATE FUNCTION find_reports(of_identifier text) RETURNS SETOF reports LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_week text;
BEGIN
    FOR of_week IN SELECT SCHEMA.weeks_of_reports() LOOP  -- the key begins with the week
        RETURN QUERY SELECT * FROM SCHEMA.reports r
            WHERE r.week = of_week AND r.identifier = of_identifier ORDER BY r.environment;
    END LOOP;
END $$
"""

DELETE = """
CREATE FUNCTION delete_reports(of_identifier text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_week text;
    here bigint;
    deleted bigint := 0;
BEGIN
    FOR of_week IN SELECT SCHEMA.weeks_of_reports() LOOP
        DELETE FROM SCHEMA.reports r WHERE r.week = of_week AND r.identifier = of_identifier;
        GET DIAGNOSTICS here = ROW_COUNT;
        deleted := deleted + here;
    END LOOP;
    RETURN deleted;
END $$
"""

DELETE_BEFORE = """
CREATE FUNCTION delete_reports_before(first_kept text) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    partition regclass;
    counted bigint;
    deleted bigint := 0;
BEGIN
    FOR partition IN
        SELECT inhrelid::regclass FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'SCHEMA.reports'::regclass
            AND relname < 'reports_' || lower(replace(first_kept, '-', '_')) COLLATE "C"
    LOOP
        EXECUTE format('SELECT count(*) FROM %s', partition) INTO counted;
        EXECUTE format('DROP TABLE %s', partition);
        deleted := deleted + counted;
    END LOOP;
    RETURN deleted;
END $$
"""

PUT_IN_ORDER = """
CREATE FUNCTION put_in_order(of_week text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
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
    -- A table keeps rows in the order of arrival, with their transaction. Rewritten, all have one transaction and the order of
    -- their key; all of them, or the new ones would be known as late. Readers see the older state; writers of this week wait.
    EXECUTE format('LOCK TABLE SCHEMA.%I IN SHARE ROW EXCLUSIVE MODE', name);
    EXECUTE format('CREATE TEMPORARY TABLE in_order ON COMMIT DROP AS SELECT * FROM SCHEMA.%I', name);
    EXECUTE format('DELETE FROM SCHEMA.%I', name);
    EXECUTE format(
        'INSERT INTO SCHEMA.%I SELECT * FROM pg_temp.in_order ORDER BY identifier COLLATE "C", environment COLLATE "C"', name);
END $$
"""

FUNCTIONS = {
    "close_partition(text)": CLOSE_PARTITION,
    "make_partition(text)": MAKE_PARTITION,
    "put_reports(jsonb)": PUT,
    "weeks_of_reports()": WEEKS,
    "find_reports(text)": FIND,
    "delete_reports(text)": DELETE,
    "delete_reports_before(text)": DELETE_BEFORE,
    "put_in_order(text)": PUT_IN_ORDER,
}


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
        connection.exec_driver_sql(TABLE)
        for signature, function in FUNCTIONS.items():
            connection.exec_driver_sql(function.replace("SCHEMA.", f"{schema}."))
            connection.exec_driver_sql(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        return
    op.create_table(
        "reports",
        sa.Column("week", sa.String(8), nullable=False),
        sa.Column("identifier", sa.String(32), nullable=False),
        sa.Column("environment", sa.String(8), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("level", sa.String(6), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("week", "identifier", "environment"),
        sqlite_with_rowid=False,
    )
