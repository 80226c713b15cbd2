#!/bin/sh
# Runs once, when a database is empty: a role for the owner, who migrates, and one each for the web process and the scheduler.
# What web and scheduler may do with the tables of public numbers, which the owner makes, is granted here, ahead of time.
# Without containers: POSTGRES_DB=raw ROLE_PASSWORDS_FILE=... sh roles.sh, with PGHOST and the like as psql knows them; the same
# again with POSTGRES_DB=aggregate, in the same PostgreSQL or in another.
set -eu
. "${ROLE_PASSWORDS_FILE:-/run/secrets/role-passwords}"
run() { psql -v ON_ERROR_STOP=1 --quiet --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB"; }

# role NAME PASSWORD: a role that may log in; one that is there keeps its name and gets the password
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
  # In the raw store the web process has no right on any table: "update-server db migrate" grants it the functions that it needs.
  exit
fi
run <<SQL
ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public GRANT SELECT ON TABLES TO web;
ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO scheduler;
ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO scheduler;
SQL

# Grafana, through which everybody can send SQL: "update-server db migrate" lets it read the tables of public numbers, and no
# other. It may not hold a lock that the jobs wait for, nor store large objects, nor let a query run for long.
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
