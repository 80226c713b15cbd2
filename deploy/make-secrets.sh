#!/bin/sh
# Creates the missing files that deploy/secrets/README.md lists, with random passwords. Run this as root.
#
#   sh deploy/make-secrets.sh [FOLDER]
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
cd "$folder"
umask 077

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
# keep NAME USER: write standard input to a file of that user, unless the file exists
keep() {
  [ -s "$1" ] && { cat >/dev/null; echo "$1: kept"; return; }
  cat >"$1"
  chown "$2:$2" "$1" 2>/dev/null || echo "$1 must belong to user $2: run this as root" >&2
  echo "$1: created"
}

for store in raw aggregate; do random | keep "postgres-$store-password" 70; done
random | keep grafana-admin-password 472
for role in OWNER WEB SCHEDULER GRAFANA; do echo "${role}_PASSWORD=$(random)"; done | keep role-passwords 70
. ./role-passwords
for role in owner web scheduler; do
  eval "password=\$$(echo $role | tr a-z A-Z)_PASSWORD"
  echo "*:*:*:$role:$password" | keep "$role-pgpass" 10001
done
printf %s "$GRAFANA_PASSWORD" | keep grafana-database-password 472
