#!/bin/sh
# Runs once, when a database is empty: a role for the owner, who migrates, and one each for the web process and the scheduler.
# What web and scheduler may do with the tables of public numbers, which the owner makes, is granted here, ahead of time.
# Without containers: POSTGRES_DB=raw ROLE_PASSWORDS_FILE=... sh roles.sh, with PGHOST and the like as psql knows them.
set -eu
. "${ROLE_PASSWORDS_FILE:-/run/secrets/role-passwords}"
psql -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" <<SQL
CREATE ROLE owner LOGIN PASSWORD '$OWNER_PASSWORD';
CREATE ROLE web LOGIN PASSWORD '$WEB_PASSWORD';
CREATE ROLE scheduler LOGIN PASSWORD '$SCHEDULER_PASSWORD';
REVOKE ALL ON DATABASE $POSTGRES_DB, postgres, template1 FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT CONNECT ON DATABASE $POSTGRES_DB TO owner, web, scheduler;
GRANT CREATE, USAGE ON SCHEMA public TO owner;
GRANT USAGE ON SCHEMA public TO web, scheduler;
SQL
if [ "$POSTGRES_DB" != raw ]; then
  # Grafana: "update-server db migrate" lets it read the tables of public numbers, and no other.
  psql -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" <<SQL
CREATE ROLE grafana LOGIN PASSWORD '$GRAFANA_PASSWORD';
GRANT CONNECT ON DATABASE $POSTGRES_DB TO grafana;
GRANT USAGE ON SCHEMA public TO grafana;
SQL
  # In the raw store the web process has no right on any table: "update-server db migrate" grants it the functions that it needs.
  psql -v ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "$POSTGRES_DB" <<SQL
ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public GRANT SELECT ON TABLES TO web;
ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO scheduler;
ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO scheduler;
SQL
fi
