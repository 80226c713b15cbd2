"""On PostgreSQL: reports in partitions by week, and functions of their owner, by which the web process does all that it may.

Retention drops a partition, which leaves nothing of a week behind. The functions run with their owner's rights (``SECURITY
DEFINER``), so that the web process needs none on the table: it can store, and find and delete by an identifier that it was
given, and no more. ``find_reports`` could be called for any identifier, but none can be listed. SQLite needs none of it.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

TABLE = """
ALTER TABLE reports RENAME TO reports_in_one;
ALTER INDEX reports_pkey RENAME TO reports_in_one_pkey;
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
    -- Take back what default privileges gave to others: a partition is reached through the table alone.
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
        EXECUTE format('CREATE TABLE IF NOT EXISTS SCHEMA.%I PARTITION OF SCHEMA.reports FOR VALUES IN (%L)', name, of_week);
        PERFORM SCHEMA.close_partition(name);
    END IF;
END $$
"""

PUT = """
CREATE FUNCTION put_reports(batch jsonb)
RETURNS TABLE (place integer, stored boolean, revision integer, reason text, is_new boolean) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    item record;
    held record;
BEGIN
    -- In the order of the key, so that two processes which store the same reports can't wait for each other in a circle.
    FOR item IN
        SELECT * FROM (SELECT ordinality AS number, value ->> 'week' AS week, value ->> 'identifier' AS identifier,
            value ->> 'environment' AS environment, (value ->> 'revision')::integer AS rev, value ->> 'level' AS level,
            (value ->> 'schema_version')::integer AS schema_version, value -> 'document' AS document
        FROM jsonb_array_elements(batch) WITH ORDINALITY) AS items
        ORDER BY items.week COLLATE "C", items.identifier COLLATE "C", items.environment COLLATE "C", items.rev, items.number
    LOOP
        place := item.number;
        PERFORM SCHEMA.make_partition(item.week);
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
BEGIN
    IF of_week !~ '^[0-9]{4}-W[0-9]{2}$' OR to_regclass('SCHEMA.' || name) IS NULL THEN
        RETURN;
    END IF;
    -- A table keeps rows where they came, and by which transaction. Written anew, all are of one, in the order of their key.
    -- Whoever reads goes on reading the older state; whoever writes this week waits.
    EXECUTE format('LOCK TABLE SCHEMA.%I IN SHARE ROW EXCLUSIVE MODE', name);
    EXECUTE format('CREATE TEMPORARY TABLE in_order ON COMMIT DROP AS SELECT * FROM SCHEMA.%I', name);
    EXECUTE format('DELETE FROM SCHEMA.%I', name);
    EXECUTE format(
        'INSERT INTO SCHEMA.%I SELECT * FROM pg_temp.in_order ORDER BY identifier COLLATE "C", environment COLLATE "C"', name);
END $$
"""

MOVE = """
SELECT make_partition(week) FROM (SELECT DISTINCT week FROM reports_in_one) AS weeks;
INSERT INTO reports SELECT * FROM reports_in_one;
DROP TABLE reports_in_one
"""

FUNCTIONS = (
    "close_partition(text)",
    "make_partition(text)",
    "put_reports(jsonb)",
    "weeks_of_reports()",
    "find_reports(text)",
    "delete_reports(text)",
    "delete_reports_before(text)",
    "put_in_order(text)",
)


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
    for script in TABLE.split(";"):
        op.execute(script)
    for function in (CLOSE_PARTITION, MAKE_PARTITION, PUT, WEEKS, FIND, DELETE, DELETE_BEFORE, PUT_IN_ORDER):
        connection.exec_driver_sql(function.replace("SCHEMA.", f"{schema}."))
    for script in MOVE.split(";"):
        op.execute(script)
    for function in FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    for function in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("CREATE TABLE reports_in_one (LIKE reports)")
    op.execute("INSERT INTO reports_in_one SELECT * FROM reports")
    op.execute("DROP TABLE reports")
    op.execute("ALTER TABLE reports_in_one RENAME TO reports")
    op.execute("ALTER TABLE reports ADD PRIMARY KEY (week, identifier, environment)")
