"""The partitioned table of raw reports on PostgreSQL, and the functions for roles without rights on it.

The functions are SECURITY DEFINER: the web process can store reports, and find and delete those of a given identifier, but
can't list reports.

``CREATE TABLE ... PARTITION OF`` locks the whole table: the first report of a week would wait until a count of another week
is done, and all later reports would queue behind it. So `make_partition` creates a table and attaches it.
"""

from alembic import op

from aggregation.stores.reports import MAX_ENVIRONMENTS

revision = "0001"
down_revision = None

TABLE = """
CREATE TABLE reports (
    week varchar(8) NOT NULL, identifier varchar(32) NOT NULL, environment varchar(8) NOT NULL, revision integer NOT NULL,
    level varchar(6) NOT NULL, schema_version integer NOT NULL, document text NOT NULL,
    PRIMARY KEY (week, identifier, environment)
) PARTITION BY LIST (week)
"""

CLOSE_PARTITION = """
CREATE FUNCTION close_partition(name text) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    grantee record;
BEGIN
    -- Revoke default privileges: partitions are only accessed through the parent table.
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
        RAISE EXCEPTION 'not an ISO week: %', of_week;
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
CREATE FUNCTION put_reports(of_week text, identifiers text[], environments text[], revisions integer[], levels text[],
    schema_versions integer[], documents text[])
RETURNS TABLE (outcome text, held integer) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$  -- a new week has no statistics
BEGIN
    PERFORM SCHEMA.make_partition(of_week);
    -- Lock in a fixed order, so that two processes that store the same reports cannot deadlock.
    PERFORM pg_advisory_xact_lock(key) FROM (
        SELECT DISTINCT hashtextextended(of_week || identifier, 0) AS key FROM unnest(identifiers) AS identifier ORDER BY 1
    ) AS keys;
    RETURN QUERY WITH sent AS (
        SELECT item.*, r.revision AS held_revision, r.level = item.level AND r.schema_version = item.schema_version
            AND r.document = item.document AS is_same,
            (SELECT count(*) FROM SCHEMA.reports e WHERE e.week = of_week AND e.identifier = item.identifier) AS environments
        FROM unnest(identifiers, environments, revisions, levels, schema_versions, documents) WITH ORDINALITY
            AS item(identifier, environment, revision, level, schema_version, document, place)
        LEFT JOIN SCHEMA.reports r
            ON r.week = of_week AND r.identifier = item.identifier AND r.environment = item.environment
    ), judged AS (
        SELECT sent.*, CASE
            WHEN held_revision IS NULL AND sent.environments + row_number() OVER (
                PARTITION BY identifier, held_revision IS NULL ORDER BY place) > MAX_ENVIRONMENTS THEN 'too_many'
            WHEN held_revision IS NULL THEN 'new'
            WHEN held_revision < revision THEN 'replaced'
            WHEN held_revision = revision AND is_same THEN 'repeated'
            ELSE 'held' END AS judgement
        FROM sent
    ), written AS (
        INSERT INTO SCHEMA.reports AS r
        SELECT of_week, identifier, environment, revision, level, schema_version, document FROM judged
        WHERE judgement IN ('new', 'replaced')
        ON CONFLICT (week, identifier, environment) DO UPDATE SET revision = EXCLUDED.revision, level = EXCLUDED.level,
            schema_version = EXCLUDED.schema_version, document = EXCLUDED.document
    )
    SELECT judgement, CASE WHEN judgement = 'held' THEN held_revision ELSE revision END FROM judged ORDER BY place;
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

SCRUB_ARRIVAL_ORDER = """
CREATE FUNCTION scrub_arrival_order(of_week text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
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
        RETURN;  -- no new reports since the last rewrite
    END IF;
    -- A table keeps rows in the order of arrival, with their transaction ids. Rewrite all rows in key order and in one
    -- transaction; if only new rows were rewritten, their ids would show that they are late. Readers see the old state;
    -- writers of this week wait.
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
    "put_reports(text, text[], text[], integer[], text[], integer[], text[])": PUT,
    "weeks_of_reports()": WEEKS,
    "find_reports(text)": FIND,
    "delete_reports(text)": DELETE,
    "delete_reports_before(text)": DELETE_BEFORE,
    "scrub_arrival_order(text)": SCRUB_ARRIVAL_ORDER,
}


def upgrade() -> None:
    connection = op.get_bind()
    schema = connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar()
    connection.exec_driver_sql(TABLE)
    for signature, function in FUNCTIONS.items():
        connection.exec_driver_sql(function.replace("SCHEMA.", f"{schema}.").replace("MAX_ENVIRONMENTS", str(MAX_ENVIRONMENTS)))
        connection.exec_driver_sql(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
