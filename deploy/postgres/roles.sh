#!/bin/sh
# Runs once, on an empty database: creates roles and grants them rights on the owner's future tables.
# Without containers: POSTGRES_DB=raw ROLE_PASSWORDS_FILE=... sh roles.sh, with PGHOST etc. as for psql; then again with
# POSTGRES_DB=aggregate.
set -eu
. "${ROLE_PASSWORDS_FILE:-/run/secrets/role-passwords}"
run() { psql -v ON_ERROR_STOP=1 --quiet --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB"; }

# role NAME PASSWORD: create or update a login role
role() {
  run <<SQL
DO \$\$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$1') THEN CREATE ROLE $1; END IF;
END \$\$;
ALTER ROLE $1 LOGIN PASSWORD '$2';
GRANT CONNECT ON DATABASE $POSTGRES_DB TO $1;
GRANT USAGE ON SCHEMA public TO $1;
SQL
}

run <<SQL
REVOKE ALL ON DATABASE $POSTGRES_DB, postgres, template1 FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
SQL
role owner "$OWNER_PASSWORD"
role web "$WEB_PASSWORD"
role scheduler "$SCHEDULER_PASSWORD"
echo "GRANT CREATE ON SCHEMA public TO owner;" | run

if [ "$POSTGRES_DB" = raw ]; then
  # In the raw store, web has no rights on tables; "update-server db migrate" grants it the functions that it needs.
  exit
fi
run <<SQL
ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public GRANT SELECT ON TABLES TO web;
ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO scheduler;
ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO scheduler;
SQL

# Anyone can send SQL through Grafana, so "update-server db migrate" grants its role only public tables. The role must not
# hold locks that jobs wait for, store large objects, or run long queries.
role grafana "$GRAFANA_PASSWORD"
run <<SQL
ALTER ROLE grafana CONNECTION LIMIT 10;
ALTER ROLE grafana SET statement_timeout = '10s';
ALTER ROLE grafana SET default_transaction_read_only = on;
DO \$\$
DECLARE name text;
BEGIN
  FOR name IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
    AND (proname LIKE 'pg\_%advisory%' OR proname LIKE 'lo\_%' OR proname IN ('lowrite', 'loread', 'pg_sleep', 'pg_notify'))
  LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', name);
    IF name LIKE 'pg%advisory%' THEN EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO owner, scheduler', name); END IF;
  END LOOP;
END \$\$;
SQL
