"""What the client remembers: one file for each Python environment, one for the user's account."""

from __future__ import annotations

import hashlib
import sqlite3
from datetime import datetime, timezone
from pathlib import Path

from msgspec import Struct

from napari_update_hook.consent import ConsentRecord
from napari_update_hook.database import StateFile
from napari_update_hook.identity import new_secret
from napari_update_hook.wire import Level

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
)
_ENVIRONMENT_FILE = 0x6E757065
_ACCOUNT_FILE = 0x6E757061


class CachedAnswer(Struct, frozen=True):
    """An answer of a server as it was received."""

    fetched_at: datetime
    body: bytes

    @property
    def etag(self) -> str:
        """What the server's ETag for this body must be, computed here: what a server handed out could be a cookie."""
        return hashlib.sha256(self.body).hexdigest()[:32]


class SentBatch(Struct, frozen=True):
    """A request that a server took: its body and the receipt, verbatim."""

    at: datetime
    service: str
    week: str
    level: Level
    request: str
    receipt: str


def environment_name(prefix: Path) -> str:
    """Return the file name for a Python environment: the first 16 hex digits of the SHA-256 of its real path."""
    return hashlib.sha256(str(prefix.resolve()).encode()).hexdigest()[:16]


class ClientStore:
    """The state of one environment and of the account that it belongs to.

    ``folder``: where both files lie. ``environment``: the name of the environment's file.
    """

    def __init__(self, folder: Path, environment: str) -> None:
        self.environment = environment
        self._own = StateFile(folder / "environments" / f"{environment}.sqlite3", _ENVIRONMENT_FILE, ENVIRONMENT_MIGRATIONS)
        self._account = StateFile(folder / "account.sqlite3", _ACCOUNT_FILE, ACCOUNT_MIGRATIONS)

    def consent_history(self) -> list[ConsentRecord]:
        """Return every answer that was given in this environment, the newest last."""
        with self._own.read() as own:
            if own is None:
                return []
            rows = own.execute(
                "SELECT at, level, schema_version, service, until, means FROM consent ORDER BY number"
            ).fetchall()
        return [
            ConsentRecord(_instant(at), Level(level), schema, service, _instant(until) if until else None, means)
            for at, level, schema, service, until, means in rows
        ]

    def consent(self) -> ConsentRecord | None:
        """Return the answer that holds now, None where nobody was asked."""
        history = self.consent_history()
        return history[-1] if history else None

    def record_consent(self, record: ConsentRecord) -> None:
        """Write down an answer. The secrets come with the first consent, and go when it ends, the account's with the last."""
        consents = record.level is not Level.NONE
        with self._account.change() as account, self._own.change() as own:
            own.execute(
                "INSERT INTO consent (at, level, schema_version, service, until, means) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    _text(record.at), record.level.value, record.schema_version, record.service,
                    _text(record.until) if record.until else None, record.means,
                ),
            )  # fmt: skip
            if consents:
                account.execute("INSERT OR IGNORE INTO consenting_environments VALUES (?)", (self.environment,))
                for file in (own, account):
                    if _secret(file) is None:
                        file.execute("INSERT INTO secret VALUES (?)", (new_secret(),))
            else:
                own.execute("DELETE FROM secret")
                account.execute("DELETE FROM consenting_environments WHERE name = ?", (self.environment,))
                if account.execute("SELECT 1 FROM consenting_environments").fetchone() is None:
                    account.execute("DELETE FROM secret")

    def secrets(self) -> tuple[bytes, bytes] | None:
        """Return the account's and the environment's secret, or None where there is no consent."""
        with self._account.read() as account, self._own.read() as own:
            if account is None or own is None:
                return None
            of_account, of_environment = _secret(account), _secret(own)
        return (of_account, of_environment) if of_account and of_environment else None

    def first_week(self, service: str) -> str | None:
        """Return the week in which this account first sent a report to a service."""
        with self._account.read() as account:
            row = account and account.execute("SELECT week FROM first_weeks WHERE service = ?", (service,)).fetchone()
        return row[0] if row else None

    def revision(self, service: str, week: str) -> int:
        """Return the highest revision of this week's report that is known, 0 where there is none."""
        with self._own.read() as own:
            row = (
                own and own.execute("SELECT revision FROM revisions WHERE service = ? AND week = ?", (service, week)).fetchone()
            )
        return row[0] if row else 0

    def note_revision(self, service: str, week: str, revision: int) -> None:
        """Remember a revision that was sent, or that a server says it holds."""
        with self._own.change() as own:
            own.execute(
                "INSERT INTO revisions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET revision = max(revision, excluded.revision)",
                (service, week, revision),
            )

    def note_sending(self, service: str, week: str, level: Level, identifier: str) -> None:
        """Remember, before a request leaves, which identifier a server may hold from now on."""
        with self._account.change() as account:
            account.execute("INSERT OR IGNORE INTO first_weeks VALUES (?, ?)", (service, week))
            account.execute(
                "INSERT OR IGNORE INTO identifiers_sent VALUES (?, ?, ?, ?)", (service, week, level.value, identifier)
            )

    def keep_sent(self, batch: SentBatch) -> None:
        """Keep verbatim what a server took."""
        with self._own.change() as own:
            own.execute(
                "INSERT INTO sent (at, service, week, level, request, receipt) VALUES (?, ?, ?, ?, ?, ?)",
                (_text(batch.at), batch.service, batch.week, batch.level.value, batch.request, batch.receipt),
            )

    def sent(self) -> list[SentBatch]:
        """Return what servers took, the newest last."""
        with self._own.read() as own:
            if own is None:
                return []
            rows = own.execute("SELECT at, service, week, level, request, receipt FROM sent ORDER BY number").fetchall()
        return [SentBatch(_instant(at), service, week, Level(level), *rest) for at, service, week, level, *rest in rows]

    def cached(self, url: str) -> CachedAnswer | None:
        """Return the last answer to a GET of ``url``."""
        with self._own.read() as own:
            row = own and own.execute("SELECT fetched_at, body FROM answers WHERE url = ?", (url,)).fetchone()
        return CachedAnswer(_instant(row[0]), row[1]) if row else None

    def cache(self, url: str, answer: CachedAnswer) -> None:
        """Keep an answer for later checks and for offline use."""
        with self._own.change() as own:
            own.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (url, _text(answer.fetched_at), answer.body))


def _secret(connection: sqlite3.Connection) -> bytes | None:
    row = connection.execute("SELECT value FROM secret").fetchone()
    return row[0] if row else None


def _text(instant: datetime) -> str:
    return instant.astimezone(timezone.utc).isoformat()


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
