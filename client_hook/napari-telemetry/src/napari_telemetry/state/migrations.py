"""How the state files came to look as they do. A script that was released is never changed: the next one is added."""

from __future__ import annotations

ENVIRONMENT_FILE = 0x6E757065
ACCOUNT_FILE = 0x6E757061

ENVIRONMENT_MIGRATIONS = (
    """
    CREATE TABLE consent (
        number INTEGER PRIMARY KEY, at TEXT NOT NULL, level TEXT NOT NULL, schema_version INTEGER NOT NULL,
        service TEXT NOT NULL, until TEXT, means TEXT NOT NULL);
    CREATE TABLE secret (value BLOB NOT NULL);
    CREATE TABLE answers (url TEXT PRIMARY KEY, fetched_at TEXT NOT NULL, body BLOB NOT NULL);
    CREATE TABLE revisions (
        service TEXT NOT NULL, week TEXT NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (service, week));
    CREATE TABLE sent (
        number INTEGER PRIMARY KEY, at TEXT NOT NULL, service TEXT NOT NULL, week TEXT NOT NULL, level TEXT NOT NULL,
        request TEXT NOT NULL, receipt TEXT NOT NULL);
    """,
    # drafts: a week that is collected; changed counts its changes, covered is the change that a server has.
    # pauses: until when something is not asked for again. counts: commands and layers of a week.
    """
    CREATE TABLE drafts (
        service TEXT NOT NULL, week TEXT NOT NULL, level TEXT NOT NULL, facts BLOB NOT NULL, changed INTEGER NOT NULL,
        covered INTEGER NOT NULL, refused TEXT, PRIMARY KEY (service, week)) WITHOUT ROWID;
    CREATE TABLE counts (
        week TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, count INTEGER NOT NULL,
        PRIMARY KEY (week, kind, key)) WITHOUT ROWID;
    CREATE TABLE pauses (
        name TEXT PRIMARY KEY, set_at TEXT NOT NULL, not_before TEXT NOT NULL, failures INTEGER NOT NULL,
        is_directed INTEGER NOT NULL, reason TEXT) WITHOUT ROWID;
    CREATE TABLE askings (at TEXT NOT NULL);
    ALTER TABLE sent ADD COLUMN server TEXT NOT NULL DEFAULT '';
    """,
)
ACCOUNT_MIGRATIONS = (
    """
    CREATE TABLE secret (value BLOB NOT NULL);
    CREATE TABLE consenting_environments (name TEXT PRIMARY KEY);
    CREATE TABLE first_weeks (service TEXT PRIMARY KEY, week TEXT NOT NULL);
    CREATE TABLE identifiers_sent (
        service TEXT NOT NULL, week TEXT NOT NULL, level TEXT NOT NULL, identifier TEXT NOT NULL,
        PRIMARY KEY (service, week, level));
    """,
    # forgotten: weeks of which nothing is sent any more. in_flight: who is sending right now, so that forgetting can wait.
    """
    CREATE TABLE identifiers (
        service TEXT NOT NULL, week TEXT NOT NULL, level TEXT NOT NULL, server TEXT NOT NULL, identifier TEXT NOT NULL,
        PRIMARY KEY (service, week, level, server, identifier)) WITHOUT ROWID;
    INSERT INTO identifiers SELECT service, week, level, '', identifier FROM identifiers_sent;
    DROP TABLE identifiers_sent;
    CREATE TABLE forgotten (service TEXT NOT NULL, week TEXT NOT NULL, PRIMARY KEY (service, week)) WITHOUT ROWID;
    CREATE TABLE in_flight (environment TEXT NOT NULL, process TEXT NOT NULL, since TEXT NOT NULL,
        PRIMARY KEY (environment, process)) WITHOUT ROWID;
    """,
)
