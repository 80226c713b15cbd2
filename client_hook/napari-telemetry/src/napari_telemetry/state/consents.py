"""The answers that were given in an environment, and the secrets that live as long as somebody consents."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import datetime, timedelta

import msgspec

from napari_telemetry.decision import ConsentRecord, has_ended, is_continued
from napari_telemetry.errors import StateError
from napari_telemetry.facts import decoded_facts, encoded_facts
from napari_telemetry.identity import new_secret
from napari_telemetry.state.database import StateFile
from napari_telemetry.state.texts import instant_of, text_of
from napari_telemetry.wire import Level

ONE_ASKING = timedelta(minutes=10)
"""Within this time, putting the question again is the same asking."""
_COLUMNS = "at, level, schema_version, service, until, means"


class Consents:
    """Answers, secrets and askings. ``environment``: the name under which the account's file knows this environment."""

    def __init__(self, own: StateFile, account: StateFile, environment: str) -> None:
        self._own = own
        self._account = account
        self._environment = environment

    def history(self) -> list[ConsentRecord]:
        """Return every answer that was given in this environment, the newest last."""
        with self._own.read() as own:
            rows = own.execute(f"SELECT {_COLUMNS} FROM consent ORDER BY number").fetchall() if own else []  # noqa: S608
            return [_record(row) for row in rows]

    def current(self) -> ConsentRecord | None:
        """Return the newest answer, None where nobody answered."""
        with self._own.read() as own:
            return latest_consent(own) if own else None

    def record(self, record: ConsentRecord) -> None:
        """Write down an answer.

        The secrets come with the first consent, and go when it ends, the account's with the last environment. What was
        collected and not sent yet goes too, unless the new answer continues one that holds: then it is cut to the lower of
        both levels. The account's file is changed first where a secret is made and last where one goes, so that a kill in
        between leaves nothing that is used. Where somebody who tidies up has seen only the former, it is made once more.
        Where the account's file can't be changed after that, the answer holds all the same: whoever tidies up takes its secret.
        """
        consents = record.level is not Level.NONE
        if consents:
            self._join_account()
        with self._own.change() as own:
            previous = latest_consent(own)
            own.execute(
                f"INSERT INTO consent ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",  # noqa: S608
                (
                    text_of(record.at), record.level.value, record.schema_version, record.service,
                    text_of(record.until) if record.until else None, record.means,
                ),
            )  # fmt: skip
            if is_continued(previous, record):
                _cut(own, record.level)
            else:
                _clear(own)
                own.execute("DELETE FROM secret")
            if consents:
                _make_secret(own)
        with contextlib.suppress(StateError):
            if consents:
                self._join_account()
            else:
                self._leave_account(record.at)

    def cut(self, level: Level) -> None:
        """Take what lies above ``level`` out of everything unsent: more than that may not even be collected any more."""
        with self._own.read() as own:
            above = [one.value for one in Level if not level.includes(one)]
            rows = own.execute("SELECT level FROM drafts").fetchall() if own else []
        if any(value in above for (value,) in rows):
            with self._own.change() as writable:
                _cut(writable, level)

    def end(self, now: datetime) -> None:
        """Clear what a consent that has ended leaves behind: what was collected and not sent, and the secrets. The answers
        stay. Nothing is cleared where somebody agrees meanwhile.
        """
        with self._own.read() as own:
            is_clear = own is None or not any(
                own.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608
                for table in ("secret", "drafts", "counts")
            )
        if not is_clear:
            with self._own.change() as writable:
                if not has_ended(latest_consent(writable), now):
                    return
                _clear(writable)
                writable.execute("DELETE FROM secret")
        self._leave_account(now)

    def secrets(self) -> tuple[bytes, bytes] | None:
        """Return the account's and the environment's secret, or None where there is no consent."""
        with self._account.read() as account, self._own.read() as own:
            of_account, of_environment = account and _secret(account), own and _secret(own)
        return (of_account, of_environment) if of_account and of_environment else None

    def askings(self) -> list[datetime]:
        """Return when the question was put, the oldest first."""
        with self._own.read() as own:
            rows = own.execute("SELECT at FROM askings ORDER BY at").fetchall() if own else []
            return [instant_of(at) for (at,) in rows]

    def note_asking(self, at: datetime) -> bool:
        """Remember that the question is put, whether or not it will be answered.

        False where another process has just put it: of several that start together, one asks.
        """
        with self._own.change() as own:
            (last,) = own.execute("SELECT max(at) FROM askings").fetchone()
            if last is not None and instant_of(last) <= at < instant_of(last) + ONE_ASKING:
                return False
            own.execute("INSERT INTO askings VALUES (?)", (text_of(at),))
            return True

    def _join_account(self) -> None:
        names, has_secret = self._of_account()
        if self._environment not in names or not has_secret:
            with self._account.change() as account:
                account.execute("INSERT OR IGNORE INTO consenting_environments VALUES (?)", (self._environment,))
                _make_secret(account)

    def _of_account(self) -> tuple[set[str], bool]:
        """The environments that consent, and whether there is a secret."""
        with self._account.read() as account:
            rows = account.execute("SELECT name FROM consenting_environments").fetchall() if account else []
            return {name for (name,) in rows}, account is not None and _secret(account) is not None

    def _leave_account(self, now: datetime) -> None:
        names, has_secret = self._of_account()
        if self._environment not in names and (names or not has_secret):
            return
        with self._account.change() as writable:
            with self._own.read() as own:
                if own is not None and not has_ended(latest_consent(own), now):
                    return  # whoever agrees later than this joins once more
            writable.execute("DELETE FROM consenting_environments WHERE name = ?", (self._environment,))
            if writable.execute("SELECT 1 FROM consenting_environments").fetchone() is None:
                writable.execute("DELETE FROM secret")


def latest_consent(own: sqlite3.Connection) -> ConsentRecord | None:
    """Return the newest answer, within a transaction of the environment's file."""
    row = own.execute(f"SELECT {_COLUMNS} FROM consent ORDER BY number DESC LIMIT 1").fetchone()  # noqa: S608
    return _record(row) if row else None


def consent_number(own: sqlite3.Connection) -> int:
    """Return how many answers there were: what was counted under one is not kept under another unseen."""
    (number,) = own.execute("SELECT count(*) FROM consent").fetchone()
    return int(number)


def _record(row: tuple[str, str, int, str, str | None, str]) -> ConsentRecord:
    at, level, schema_version, service, until, means = row
    return ConsentRecord(instant_of(at), Level(level), schema_version, service, instant_of(until) if until else None, means)


def _cut(own: sqlite3.Connection, level: Level) -> None:
    """Take what lies above ``level`` out of everything unsent, and mark drafts that shrank: the server's copy shall shrink
    too.
    """
    for above in Level:
        if not level.includes(above):
            own.execute("UPDATE drafts SET level = ?, changed = changed + 1 WHERE level = ?", (level.value, above.value))
    if not level.includes(Level.MIDDLE):
        for service, week, facts in own.execute("SELECT service, week, facts FROM drafts").fetchall():
            bare = encoded_facts(msgspec.structs.replace(decoded_facts(facts), plugins={}))
            own.execute("UPDATE drafts SET facts = ? WHERE service = ? AND week = ?", (bare, service, week))
    if not level.includes(Level.FULL):
        own.execute("DELETE FROM counts")


def _clear(own: sqlite3.Connection) -> None:
    own.execute("DELETE FROM drafts")
    own.execute("DELETE FROM counts")
    own.execute("DELETE FROM answers WHERE url LIKE '%/api/telemetry/%'")


def _make_secret(connection: sqlite3.Connection) -> None:
    if _secret(connection) is None:
        connection.execute("INSERT INTO secret VALUES (?)", (new_secret(),))


def _secret(connection: sqlite3.Connection) -> bytes | None:
    row = connection.execute("SELECT value FROM secret").fetchone()
    return row[0] if row else None
