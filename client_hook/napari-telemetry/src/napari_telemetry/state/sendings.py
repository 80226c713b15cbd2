"""What was sent, what a server may hold, and what shall be forgotten.

Written in this order, so that a kill at any point leaves no report at a server that this computer does not know of: the
identifier and the exact request before it leaves, the receipt when it came.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from napari_telemetry.state.consents import consent_number, latest_consent
from napari_telemetry.state.database import StateFile
from napari_telemetry.state.texts import instant_of, text_of
from napari_telemetry.weeks import start_of
from napari_telemetry.wire import Level

KEPT = timedelta(days=60)
"""How long after the start of its week a server can have a report: as long as that, what was sent is kept here."""


class SentBatch(Struct, frozen=True):
    """A request with a report: its body, and the server's receipt, both verbatim. ``receipt`` is empty where no answer came."""

    at: datetime
    service: str
    server: str
    week: str
    level: Level
    request: str
    receipt: str = ""


class SentIdentifier(Struct, frozen=True, order=True):
    """A pseudonym that a server may hold reports of. ``server``: the level's base URL, empty where it was not written down."""

    service: str
    week: str
    level: Level
    server: str
    identifier: str


class Sendings:
    """The record of everything that left, of this environment and of the account."""

    def __init__(self, own: StateFile, account: StateFile, environment: str) -> None:
        self._own = own
        self._account = account
        self._environment = environment

    def reserve_revision(self, service: str, week: str) -> int:
        """Return the next revision of a week's report: never the same twice, whatever happens."""
        with self._own.change() as own:
            own.execute(
                "INSERT INTO revisions VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET revision = revision + 1", (service, week)
            )
            return _revision(own, service, week)

    def revision(self, service: str, week: str) -> int:
        """Return the highest revision of a week's report that is known, 0 where there is none."""
        with self._own.read() as own:
            return _revision(own, service, week) if own else 0

    def note_revision(self, service: str, week: str, revision: int) -> None:
        """Remember a revision that a server says it holds."""
        with self._own.change() as own:
            own.execute(
                "INSERT INTO revisions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET revision = max(revision, excluded.revision)",
                (service, week, revision),
            )

    def begin(self, batch: SentBatch, identifier: str, process: str, epoch: int) -> int | None:
        """Write down that a request is about to leave, and return its number.

        None, and nothing may be sent, where the week is to be forgotten or another answer was given since ``epoch``, see
        `Drafts.epoch`: also one that agrees anew, because this request bears the pseudonym of before. Whoever begins must call
        `end`, also after a failure.
        """
        with self._own.read() as known:
            if known is None or not _consents(known, batch, epoch):
                return None
        with self._account.change() as account:
            if account.execute(
                "SELECT 1 FROM forgotten WHERE service = ? AND week = ?", (batch.service, batch.week)
            ).fetchone():
                return None
            account.execute(
                "INSERT OR REPLACE INTO in_flight VALUES (?, ?, ?)", (self._environment, process, text_of(batch.at))
            )
            account.execute("INSERT OR IGNORE INTO first_weeks VALUES (?, ?)", (batch.service, batch.week))
            account.execute(
                "INSERT OR IGNORE INTO identifiers VALUES (?, ?, ?, ?, ?)",
                (batch.service, batch.week, batch.level.value, batch.server, identifier),
            )
        with self._own.change() as own:
            if not _consents(own, batch, epoch):
                return None
            cursor = own.execute(
                "INSERT INTO sent (at, service, server, week, level, request, receipt) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    text_of(batch.at), batch.service, batch.server, batch.week, batch.level.value, batch.request, batch.receipt,
                ),
            )  # fmt: skip
            return cursor.lastrowid

    def take_back(self, number: int) -> None:
        """Note that the request of that number did not leave after all."""
        with self._own.change() as own:
            own.execute("DELETE FROM sent WHERE number = ?", (number,))

    def note_receipt(self, number: int, receipt: str) -> None:
        """Keep what the server said to the request of that number."""
        with self._own.change() as own:
            own.execute("UPDATE sent SET receipt = ? WHERE number = ?", (receipt, number))

    def end(self, process: str) -> None:
        """Note that nothing of this process is under way any more."""
        with self._account.change() as account:
            account.execute("DELETE FROM in_flight WHERE environment = ? AND process = ?", (self._environment, process))

    def under_way(self, since: datetime) -> bool:
        """Tell whether any process of the account began to send after ``since`` and has not ended."""
        with self._account.read() as account:
            rows = account.execute("SELECT since FROM in_flight").fetchall() if account else []
            return any(instant_of(at) > since for (at,) in rows)

    def is_sending(self, since: datetime) -> bool:
        """Tell whether any process of this environment began to send after ``since`` and has not ended."""
        with self._account.read() as account:
            query = "SELECT since FROM in_flight WHERE environment = ?"
            rows = account.execute(query, (self._environment,)).fetchall() if account else []
            return any(instant_of(at) > since for (at,) in rows)

    def sent(self) -> list[SentBatch]:
        """Return the requests that left, the newest last."""
        with self._own.read() as own:
            query = "SELECT at, service, server, week, level, request, receipt FROM sent ORDER BY number"
            rows = own.execute(query).fetchall() if own else []
            return [
                SentBatch(instant_of(at), service, server, week, Level(level), *rest)
                for at, service, server, week, level, *rest in rows
            ]

    def first_week(self, service: str) -> str | None:
        """Return the week in which this account first sent a report to a service."""
        with self._account.read() as account:
            row = account and account.execute("SELECT week FROM first_weeks WHERE service = ?", (service,)).fetchone()
        return row[0] if row else None

    def identifiers(self) -> list[SentIdentifier]:
        """Return the account's pseudonyms that a server may hold, the oldest week first."""
        with self._account.read() as account:
            query = "SELECT service, week, level, server, identifier FROM identifiers ORDER BY week, service, level, server"
            rows = account.execute(query).fetchall() if account else []
            return [SentIdentifier(service, week, Level(level), *rest) for service, week, level, *rest in rows]

    def drop_identifier(self, sent: SentIdentifier) -> None:
        """Remove a pseudonym: the server said that it holds nothing of it any more."""
        with self._account.change() as account:
            account.execute(
                "DELETE FROM identifiers WHERE service = ? AND week = ? AND level = ? AND server = ? AND identifier = ?",
                (sent.service, sent.week, sent.level.value, sent.server, sent.identifier),
            )

    def forget(self, weeks: Iterable[tuple[str, str]]) -> None:
        """Note that nothing shall be sent any more for these (service, week), from any environment of the account."""
        with self._account.change() as account:
            account.executemany("INSERT OR IGNORE INTO forgotten VALUES (?, ?)", weeks)

    def forgotten(self) -> set[tuple[str, str]]:
        """Return the (service, week) of which nothing is sent any more."""
        with self._account.read() as account:
            return set(account.execute("SELECT service, week FROM forgotten").fetchall()) if account else set()

    def drop_old(self, now: datetime) -> None:
        """Remove what no server can have any more: everything whose week began more than 60 days ago.

        What is to be forgotten stays: a clock that was ahead for a day must not undo it.
        """
        with self._own.read() as own, self._account.read() as account:
            in_own = {week for table in ("sent", "revisions") for week in _weeks(own, table)}
            in_account = set(_weeks(account, "identifiers"))
            old_weeks = {week for week in in_own | in_account if start_of(week) + KEPT <= now}
        for file, weeks, tables in (
            (self._account, in_account, ("identifiers",)),  # first: at no kill is there one without what was sent
            (self._own, in_own, ("sent", "revisions")),
        ):
            old = sorted(weeks & old_weeks)
            if old:
                with file.change() as connection:
                    for table in tables:
                        connection.executemany(f"DELETE FROM {table} WHERE week = ?", [(week,) for week in old])  # noqa: S608


def clear_weeks(file: StateFile, weeks: Iterable[tuple[str, str]]) -> tuple[int, int]:
    """Remove all that an environment's file has of these (service, week); return how many requests and how many drafts."""
    requests = drafts = 0
    with file.change() as own:
        for service, week in weeks:
            requests += own.execute("DELETE FROM sent WHERE service = ? AND week = ?", (service, week)).rowcount
            removed = own.execute("DELETE FROM drafts WHERE service = ? AND week = ?", (service, week)).rowcount
            if removed:
                own.execute("DELETE FROM counts WHERE week = ?", (week,))
            drafts += removed
    return requests, drafts


def _consents(own: sqlite3.Connection, batch: SentBatch, epoch: int) -> bool:
    consent = latest_consent(own) if consent_number(own) == epoch else None
    return consent is not None and consent.service == batch.service and consent.level.includes(batch.level)


def _revision(own: sqlite3.Connection, service: str, week: str) -> int:
    row = own.execute("SELECT revision FROM revisions WHERE service = ? AND week = ?", (service, week)).fetchone()
    return int(row[0]) if row else 0


def _weeks(connection: sqlite3.Connection | None, table: str) -> list[str]:
    return [week for (week,) in connection.execute(f"SELECT DISTINCT week FROM {table}")] if connection else []  # noqa: S608
