"""All telemetry state of an account, in one SQLite file that its processes share.

Each method is one transaction; a writing one begins with the file's lock, so what processes do is in one order. The journal
stays SQLite's default: a write-ahead log does not work on network file systems, on which many home folders are.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from napari_update_hook.errors import StateError

from napari_telemetry.consent_rules import ConsentRecord, Decision, extends_consent, has_ended
from napari_telemetry.environment import EnvironmentInfo, decode_info, encode_info, new_secret
from napari_telemetry.layers import LayerKind
from napari_telemetry.settings import TelemetrySettings
from napari_telemetry.weeks import closes_at, is_open, start_of, week_of
from napari_telemetry.wire import Level

FILE = "telemetry.sqlite3"
APPLICATION_ID = 0x6E757074
FORMAT = 1
LOCK_TIMEOUT_S = 10.0
"""How long to wait for another process; a transaction takes milliseconds."""
SENDING_TIMEOUT = timedelta(minutes=2)
"""After this long a report that is being sent is lost: its process was killed."""
RETENTION = timedelta(days=60)
"""From the start of its week, as long as a server can have a report."""
DELETION_TIMEOUT = timedelta(days=365)
"""From the start of its week, when a deletion is given up; longer than needed, as a clock may be ahead for a day."""
MAX_KINDS = 20_000
"""Different commands and kinds of layers that are counted in a week; a report holds fewer."""
ACCOUNT = ""
"""The account's own row in ``secrets``, beside those of its environments."""
ONE_PROMPT = timedelta(minutes=10)
"""Within this time, asking again is the same prompt: of several processes that start together, one asks."""

SCHEMA = """
CREATE TABLE consents (
    number INTEGER PRIMARY KEY, environment TEXT NOT NULL, at TEXT NOT NULL, level TEXT NOT NULL,
    schema_version INTEGER NOT NULL, service TEXT NOT NULL, until TEXT, means TEXT NOT NULL);
CREATE TABLE prompts (environment TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE secrets (environment TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE drafts (
    environment TEXT NOT NULL, week TEXT NOT NULL, consent INTEGER NOT NULL, level TEXT NOT NULL, info BLOB NOT NULL,
    version INTEGER NOT NULL, sent_version INTEGER NOT NULL, rejected TEXT, PRIMARY KEY (environment, week)) WITHOUT ROWID;
CREATE TABLE counts (
    environment TEXT NOT NULL, week TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY (environment, week, kind, key)) WITHOUT ROWID;
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT, environment TEXT NOT NULL, service TEXT NOT NULL, server TEXT NOT NULL,
    week TEXT NOT NULL, level TEXT NOT NULL, identifier TEXT NOT NULL, revision INTEGER NOT NULL, state TEXT NOT NULL,
    at TEXT NOT NULL, request TEXT NOT NULL, receipt TEXT NOT NULL, is_to_delete INTEGER NOT NULL);
CREATE TABLE weeks (
    service TEXT NOT NULL, week TEXT NOT NULL, is_first INTEGER NOT NULL, is_forgotten INTEGER NOT NULL,
    PRIMARY KEY (service, week)) WITHOUT ROWID;
CREATE TABLE backoffs (
    environment TEXT NOT NULL, service TEXT NOT NULL, set_at TEXT NOT NULL, not_before TEXT NOT NULL,
    failures INTEGER NOT NULL, reason TEXT, PRIMARY KEY (environment, service)) WITHOUT ROWID;
"""
"""``drafts.version`` counts changes, ``sent_version`` is the one that the server has. ``outbox.state``: sending, answered or
lost. ``weeks``: the first in which the account took part, and those of which nothing may be sent."""


class Draft(Struct, frozen=True):
    """A week of an environment. ``level``: what was collected, at most; ``rejected``: why a server did not accept it."""

    week: str
    consent: int
    level: Level
    info: EnvironmentInfo
    version: int
    sent_version: int
    rejected: str | None

    @property
    def is_unsent(self) -> bool:
        """Whether there is something that the server does not have."""
        return self.version > self.sent_version


class Counts(Struct, frozen=True):
    """What was counted in a week, exactly: it is rounded down when a report is made."""

    commands: Mapping[str, int] = {}
    layers: Mapping[LayerKind, int] = {}


class Backoff(Struct, frozen=True):
    """Until when nothing is sent to a service. ``failures``: in a row; ``reason``: for people."""

    set_at: datetime
    not_before: datetime
    failures: int = 0
    reason: str | None = None

    def is_active(self, now: datetime) -> bool:
        """Whether it is in effect; one from a clock that has been set back is not."""
        return self.set_at <= now < self.not_before <= self.set_at + timedelta(days=8)


class PreparedBatch(Struct, frozen=True):
    """A report as the exact body of a request, the week's ``version`` that it shows, and the ``consent`` it was made under."""

    service: str
    server: str
    week: str
    level: Level
    identifier: str
    revision: int
    version: int
    consent: int
    body: bytes


class SentBatch(Struct, frozen=True):
    """A request that left. ``receipt``: as the server sent it, empty if no answer came. ``state``: sending, answered, lost."""

    at: datetime
    service: str
    server: str
    week: str
    level: Level
    identifier: str
    request: str
    receipt: str = ""
    state: str = "sending"
    is_to_delete: bool = False


class View(Struct, frozen=True):
    """Everything about one environment, as of one instant. ``forgotten``: weeks of the service of which nothing is sent."""

    history: list[ConsentRecord] = []
    prompts: list[datetime] = []
    secrets: tuple[bytes, bytes] | None = None
    drafts: list[Draft] = []
    counts: dict[str, Counts] = {}
    sent: list[SentBatch] = []
    """Of this environment."""
    identifiers: list[SentBatch] = []
    """Of the account, one for each identifier and server: what servers may hold."""
    deletions: list[tuple[str, str, str]] = []
    """Identifiers to delete: week, server, identifier."""
    revisions: dict[str, int] = {}
    first_week: str | None = None
    forgotten: list[str] = []
    backoff: Backoff | None = None

    @property
    def consent(self) -> ConsentRecord | None:
        """The newest answer."""
        return self.history[-1] if self.history else None

    def next_draft(self, now: datetime, level: Level) -> Draft | None:
        """Return the week to send next, or None: over and unsent before current, rejected last, older before newer."""
        ready = [
            draft
            for draft in self.drafts
            if draft.is_unsent and draft.week not in self.forgotten and draft.week <= week_of(now) and is_open(draft.week, now)
        ]
        if level is Level.NONE:
            return None
        return min(ready, key=lambda draft: (draft.rejected is not None, draft.week), default=None)


class Store:
    """The state of one environment in the account's file. Keeps one connection open; thread-safe.

    ``environment``: its name, see `napari_update_hook.state.environment_id`. Every method raises StateError.
    """

    def __init__(self, folder: Path | None, environment: str) -> None:
        self.environment = environment
        self.path = folder.absolute() / FILE if folder is not None else None
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._seen: Any = None
        self._lock = threading.RLock()

    @property
    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self.path is not None and self.path.exists()

    def has_changed(self) -> bool:
        """Whether another process, or this one, has changed the file since the last call."""
        with self._lock:
            if not self.exists:
                seen: Any = None
            else:
                with self._read() as file:
                    seen = (file.execute("PRAGMA data_version").fetchone(), file.total_changes, self._inode)
            before, self._seen = self._seen, seen
            return bool(before != seen)

    def close(self) -> None:
        """Close the connection; it is opened again when it is needed."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    # May this report leave?

    def begin_sending(
        self, batch: PreparedBatch, decide: Callable[[ConsentRecord | None], Decision], now: datetime
    ) -> int | None:
        """Decide whether a report may leave; return its number in the outbox if so, else None.

        This is the only place that lets a report leave, and it is one transaction on the file in which a "no" is recorded.
        """
        with self._write() as file:
            self._expire_sending(file, now)
            consent = self._consent(file)
            may_leave = (
                # the consent under which it was made is the one in effect, and so is its level
                consent is not None
                and consent.number == batch.consent
                and decide(consent).level.includes(batch.level)
                # its week is open and not to be forgotten
                and is_open(batch.week, now)
                and batch.week not in self._forgotten(file, batch.service)
                # no other process has sent or is sending it
                and self._highest(file, "sent_version", "drafts", batch.week) < batch.version
                and self._highest(file, "revision", "outbox", batch.week) + 1 == batch.revision
                and not self._is_sending(file, "environment = ?", self.environment)
            )
            if not may_leave:
                return None
            return file.execute(
                "INSERT INTO outbox (environment, service, server, week, level, identifier, revision, state, at, request, "
                "receipt, is_to_delete) VALUES (?, ?, ?, ?, ?, ?, ?, 'sending', ?, ?, '', 0)",
                (
                    self.environment, batch.service, batch.server, batch.week, batch.level.value, batch.identifier,
                    batch.revision, _text(now), batch.body.decode(),
                ),
            ).lastrowid  # fmt: skip

    # What a person said

    def record(self, record: ConsentRecord, *, may_extend: bool = True) -> ConsentRecord:
        """Record an answer, and return it with its number. ``may_extend``: whether the package was here since the last one.

        Unless it extends the current consent, everything that was collected and not sent is deleted, and the environment's
        secret with it; the account's goes with the last consent. A report that is being sent while consent ends is deleted on
        the server.
        """
        with self._write() as file:
            return self._record(file, record, may_extend)

    def claim_prompt(self, at: datetime) -> bool:
        """Remember that a person is asked. False if another process has just asked."""
        with self._write() as file:
            (last,) = file.execute("SELECT max(at) FROM prompts WHERE environment = ?", (self.environment,)).fetchone()
            if last is not None and _instant(last) <= at < _instant(last) + ONE_PROMPT:
                return False
            file.execute("INSERT INTO prompts VALUES (?, ?)", (self.environment, _text(at)))
            return True

    def forget(self, service: str, week: str) -> tuple[list[tuple[str, str]], int, int]:
        """Mark every week of the account to be forgotten, delete what is kept of them, and have the servers' copies deleted.

        ``week``: the current one. Returns (service, week) of all of them, and how many requests and drafts were deleted.
        """
        with self._write() as file:
            weeks = set(file.execute("SELECT DISTINCT service, week FROM outbox").fetchall()) | {(service, week)}
            latest = "SELECT max(number) FROM consents GROUP BY environment"
            weeks |= set(
                file.execute(
                    "SELECT consents.service, week FROM drafts JOIN consents USING (environment) "  # noqa: S608
                    f"WHERE consents.number IN ({latest})"
                )
            )
            for one in weeks:
                file.execute("INSERT INTO weeks VALUES (?, ?, 0, 1) ON CONFLICT DO UPDATE SET is_forgotten = 1", one)
            requests = file.execute(
                "UPDATE outbox SET request = '', receipt = '', is_to_delete = 1 WHERE request <> ''"
            ).rowcount
            file.execute("UPDATE outbox SET is_to_delete = 1")
            drafts = file.execute("DELETE FROM drafts").rowcount
            file.execute("DELETE FROM counts")
        self.compact()
        return sorted(weeks), requests, drafts

    # What is collected

    def prepare(
        self, settings: TelemetrySettings, decide: Callable[[ConsentRecord | None], Decision], info: EnvironmentInfo
    ) -> tuple[Decision, View]:
        """Bring the state up to date, note how the environment looks this week, and return the decision and everything else.

        A lower level in napari's Preferences becomes a lowered consent. ``info``: at level full.
        """
        now, service = settings.now(), settings.service
        with self._write() as file:
            self._purge(file, now)
            consent, maximum = self._consent(file), settings.preferences()
            is_lower = maximum.is_chosen and consent is not None and not maximum.level.includes(consent.level)
            if is_lower and consent is not None and not has_ended(consent, now):
                lowered = msgspec.structs.replace(consent, at=now, level=maximum.level, means="napari Preferences")
                consent = self._record(file, lowered)
            decision = decide(consent)
            if consent is not None and decision.level is not Level.NONE:
                self._lower(file, decision.level)
                known = info if decision.level.includes(Level.MIDDLE) else msgspec.structs.replace(info, plugins={})
                self._note(file, week_of(now), consent, decision.level, known)
            return decision, self._view(file, service)

    def add(self, consent: int, info: EnvironmentInfo, counted: Mapping[str, Counts]) -> bool:
        """Add what was counted, by week. False, and nothing is added, if that consent is not in effect at level full."""
        with self._write() as file:
            current = self._consent(file)
            if current is None or current.number != consent or current.level is not Level.FULL:
                return False
            for week, counts in counted.items():
                if self._note(file, week, current, Level.FULL, info):
                    file.execute(
                        "UPDATE drafts SET version = version + 1 WHERE environment = ? AND week = ?", (self.environment, week)
                    )
                    self._count(file, week, counts)
        return True

    # What became of a report

    def finish_sending(
        self, number: int, receipt: str | None, backoff: Backoff, *, version: int | None = None, revision: int = 0,
        rejected: str | None = None,
    ) -> None:  # fmt: skip
        """Record what became of a report: its receipt, None if no answer came, and until when nothing more is sent.

        ``version``: of the draft that the server has now; ``rejected``: why it has not; ``revision``: which one it holds.
        """
        with self._write() as file:
            row = file.execute("SELECT service, week FROM outbox WHERE number = ?", (number,)).fetchone()
            if row is None:  # deleted meanwhile
                return
            service, week = row
            file.execute(
                "UPDATE outbox SET state = ?, revision = max(revision, ?), "
                "receipt = CASE WHEN request = '' THEN '' ELSE ? END WHERE number = ?",
                ("lost" if receipt is None else "answered", revision, receipt or "", number),
            )
            if version is not None:
                file.execute(
                    "UPDATE drafts SET sent_version = max(sent_version, ?), rejected = NULL WHERE environment = ? AND week = ?",
                    (version, self.environment, week),
                )
                if self._first_week(file, service) is None:
                    file.execute(
                        "INSERT INTO weeks VALUES (?, ?, 1, 0) ON CONFLICT DO UPDATE SET is_first = 1", (service, week)
                    )
            if rejected is not None:
                file.execute(
                    "UPDATE drafts SET rejected = ? WHERE environment = ? AND week = ?", (rejected, self.environment, week)
                )
            self._back_off(file, service, backoff)

    def back_off(self, service: str, backoff: Backoff) -> None:
        """Remember until when nothing is sent to a service."""
        with self._write() as file:
            self._back_off(file, service, backoff)

    def finish_deletion(self, identifier: str, server: str, now: datetime) -> bool:
        """Record that a server deleted everything of an identifier. False if a report of it was on its way: delete again.

        Other environments of the account send their weeks again, because theirs were deleted with it.
        """
        with self._write() as file:
            self._expire_sending(file, now)
            of_it = "identifier = ? AND server = ?"
            if self._is_sending(file, of_it, identifier, server):
                return False
            week = file.execute(f"SELECT week FROM outbox WHERE {of_it}", (identifier, server)).fetchone()  # noqa: S608
            file.execute(f"DELETE FROM outbox WHERE {of_it} AND is_to_delete AND request = ''", (identifier, server))  # noqa: S608
            file.execute(f"UPDATE outbox SET is_to_delete = 0 WHERE {of_it}", (identifier, server))  # noqa: S608
            file.execute("UPDATE drafts SET version = version + 1 WHERE week = ?", week or ("",))
        return True

    # Reading

    def view(self, service: str) -> View:
        """Return everything about this environment and ``service``, in one transaction."""
        if not self.exists:
            return View()
        with self._read() as file:
            file.execute("BEGIN")  # rolled back by `_read`
            return self._view(file, service)

    def _view(self, file: sqlite3.Connection, service: str) -> View:
        own = (self.environment,)
        counts: dict[str, Counts] = {}
        for week, kind, key, count in file.execute("SELECT week, kind, key, count FROM counts WHERE environment = ?", own):
            of_week = counts.setdefault(week, Counts({}, {}))
            if kind == "command":
                of_week.commands[key] = count  # type: ignore[index]
            else:
                of_week.layers[msgspec.json.decode(key, type=LayerKind)] = count  # type: ignore[index]
        secrets = dict(file.execute("SELECT environment, value FROM secrets"))
        backoff = file.execute(
            "SELECT set_at, not_before, failures, reason FROM backoffs WHERE environment = ? AND service = ?", (*own, service)
        ).fetchone()
        columns = "at, service, server, week, level, identifier, request, receipt, state, is_to_delete"
        outbox = file.execute(f"SELECT environment, {columns} FROM outbox ORDER BY number").fetchall()  # noqa: S608
        entries = [(environment, _sent(row)) for environment, *row in outbox]
        identifiers = {(one.week, one.server, one.identifier): one for _, one in entries}
        revisions = "SELECT week, max(revision) FROM outbox WHERE environment = ? GROUP BY week"
        drafts = "SELECT week, consent, level, info, version, sent_version, rejected FROM drafts WHERE environment = ?"
        return View(
            history=self._history(file),
            prompts=[_instant(at) for (at,) in file.execute("SELECT at FROM prompts WHERE environment = ? ORDER BY at", own)],
            secrets=(secrets[ACCOUNT], secrets[self.environment]) if {ACCOUNT, self.environment} <= set(secrets) else None,
            drafts=[
                Draft(week, consent, Level(level), decode_info(info), *rest)
                for week, consent, level, info, *rest in file.execute(f"{drafts} ORDER BY week", own)
            ],
            counts=counts,
            sent=[one for environment, one in entries if environment == self.environment and one.request],
            identifiers=[identifiers[key] for key in sorted(identifiers)],
            deletions=sorted({(one.week, one.server, one.identifier) for _, one in entries if one.is_to_delete}),
            revisions=dict(file.execute(revisions, own)),
            first_week=self._first_week(file, service),
            forgotten=sorted(self._forgotten(file, service)),
            backoff=Backoff(_instant(backoff[0]), _instant(backoff[1]), *backoff[2:]) if backoff else None,
        )

    def check_health(self) -> None:
        """Raise StateError, with advice, unless every page can be read and the file can be written (a write is rolled back)."""
        if self.path is None:
            raise StateError("Nothing can be kept: this account has no home folder. Set NAPARI_UPDATE_STATE to a folder.")
        if self.exists:
            with self._read() as file:
                (verdict,) = file.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    raise sqlite3.DatabaseError("malformed")
                file.execute("BEGIN IMMEDIATE")
                file.execute("CREATE TABLE probe AS SELECT zeroblob(8192) AS filling")  # rolled back by `_read`

    def compact(self) -> None:
        """Rewrite the file, so that nothing deleted is left in the free space of its pages. Skipped while it is locked."""
        with contextlib.suppress(StateError), self._read() as file:
            file.execute("VACUUM")

    # Within a transaction

    def _history(self, file: sqlite3.Connection) -> list[ConsentRecord]:
        columns = "at, level, schema_version, service, until, means, number"
        query = f"SELECT {columns} FROM consents WHERE environment = ? ORDER BY number"  # noqa: S608
        return [
            ConsentRecord(_instant(at), Level(level), schema, service, _instant(until) if until else None, means, number)
            for at, level, schema, service, until, means, number in file.execute(query, (self.environment,)).fetchall()
        ]

    def _consent(self, file: sqlite3.Connection) -> ConsentRecord | None:
        return next(iter(self._history(file)[-1:]), None)

    def _record(self, file: sqlite3.Connection, record: ConsentRecord, may_extend: bool = True) -> ConsentRecord:
        previous = self._consent(file)
        number = file.execute(
            "INSERT INTO consents (environment, at, level, schema_version, service, until, means) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self.environment, _text(record.at), record.level.value, record.schema_version, record.service,
                _text(record.until) if record.until else None, record.means,
            ),
        ).lastrowid  # fmt: skip
        if may_extend and extends_consent(previous, record):
            self._lower(file, record.level)
            file.execute("UPDATE drafts SET consent = ? WHERE environment = ?", (number, self.environment))
        else:
            self._end(file)
            # what is on its way may arrive after this answer; a clock that jumped must not make it seem lost
            file.execute("UPDATE outbox SET is_to_delete = 1 WHERE state = 'sending' AND environment = ?", (self.environment,))
        if record.level is not Level.NONE:
            for owner in (ACCOUNT, self.environment):
                file.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (owner, new_secret()))
        return msgspec.structs.replace(record, number=number or 0)

    def _purge(self, file: sqlite3.Connection, now: datetime) -> None:
        """Delete what an expired consent left, closed weeks, and everything of weeks that no server can have any more.

        Weeks far ahead come from a wrong clock. Forgotten weeks stay: a clock that was ahead for a day must not undo that.
        """
        self._expire_sending(file, now)
        consent = self._consent(file)
        if consent is not None and consent.level is not Level.NONE and has_ended(consent, now):
            self._end(file)
        for table in ("drafts", "counts"):
            for (week,) in file.execute(f"SELECT DISTINCT week FROM {table}").fetchall():  # noqa: S608
                if closes_at(week) <= now or start_of(week) > now + RETENTION:
                    file.execute(f"DELETE FROM {table} WHERE week = ?", (week,))  # noqa: S608
        for week, is_to_delete in file.execute("SELECT DISTINCT week, is_to_delete FROM outbox").fetchall():
            if start_of(week) + (DELETION_TIMEOUT if is_to_delete else RETENTION) <= now:
                file.execute("DELETE FROM outbox WHERE week = ? AND is_to_delete = ?", (week, is_to_delete))

    def _forgotten(self, file: sqlite3.Connection, service: str) -> set[str]:
        return {week for (week,) in file.execute("SELECT week FROM weeks WHERE service = ? AND is_forgotten", (service,))}

    def _first_week(self, file: sqlite3.Connection, service: str) -> str | None:
        row = file.execute("SELECT week FROM weeks WHERE service = ? AND is_first", (service,)).fetchone()
        return row[0] if row else None

    def _highest(self, file: sqlite3.Connection, column: str, table: str, week: str) -> int:
        query = f"SELECT coalesce(max({column}), 0) FROM {table} WHERE environment = ? AND week = ?"  # noqa: S608
        return int(file.execute(query, (self.environment, week)).fetchone()[0])

    def _is_sending(self, file: sqlite3.Connection, where: str, *values: str) -> bool:
        query = f"SELECT 1 FROM outbox WHERE state = 'sending' AND {where}"  # noqa: S608
        return file.execute(query, values).fetchone() is not None

    def _expire_sending(self, file: sqlite3.Connection, now: datetime) -> None:
        """Mark as lost what processes that were killed were sending."""
        for number, at in file.execute("SELECT number, at FROM outbox WHERE state = 'sending'").fetchall():
            if abs(now - _instant(at)) >= SENDING_TIMEOUT:
                file.execute("UPDATE outbox SET state = 'lost' WHERE number = ?", (number,))

    def _back_off(self, file: sqlite3.Connection, service: str, backoff: Backoff) -> None:
        values = (self.environment, service, _text(backoff.set_at), _text(backoff.not_before), backoff.failures, backoff.reason)
        file.execute("INSERT OR REPLACE INTO backoffs VALUES (?, ?, ?, ?, ?, ?)", values)

    def _note(self, file: sqlite3.Connection, week: str, consent: ConsentRecord, level: Level, info: EnvironmentInfo) -> bool:
        if week in self._forgotten(file, consent.service):
            return False
        file.execute(
            "INSERT INTO drafts VALUES (?, ?, ?, ?, ?, 1, 0, NULL) ON CONFLICT DO UPDATE SET "
            "level = excluded.level, info = excluded.info, version = version + 1, rejected = NULL "
            "WHERE level <> excluded.level OR info <> excluded.info",
            (self.environment, week, consent.number, level.value, encode_info(info)),
        )
        return True

    def _count(self, file: sqlite3.Connection, week: str, counts: Counts) -> None:
        own = (self.environment, week)
        (kinds,) = file.execute("SELECT count(*) FROM counts WHERE environment = ? AND week = ?", own).fetchone()
        rows = [("command", key, count) for key, count in counts.commands.items()]
        rows += [("layer", msgspec.json.encode(kind).decode(), count) for kind, count in counts.layers.items()]
        where = "WHERE environment = ? AND week = ? AND kind = ? AND key = ?"
        for kind, key, count in rows:
            known = file.execute(f"UPDATE counts SET count = count + ? {where}", (count, *own, kind, key)).rowcount  # noqa: S608
            if not known and kinds < MAX_KINDS:
                file.execute("INSERT INTO counts VALUES (?, ?, ?, ?, ?)", (*own, kind, key, count))
                kinds += 1

    def _lower(self, file: sqlite3.Connection, level: Level) -> None:
        """Delete everything unsent above ``level``. Drafts that shrink are sent again, so that servers' copies shrink too."""
        own = (self.environment,)
        for above in Level:
            if not level.includes(above):
                file.execute(
                    "UPDATE drafts SET level = ?, version = version + 1 WHERE level = ? AND environment = ?",
                    (level.value, above.value, *own),
                )
        if not level.includes(Level.MIDDLE):
            for week, info in file.execute("SELECT week, info FROM drafts WHERE environment = ?", own).fetchall():
                bare = encode_info(msgspec.structs.replace(decode_info(info), plugins={}))
                file.execute("UPDATE drafts SET info = ? WHERE environment = ? AND week = ?", (bare, *own, week))
        if not level.includes(Level.FULL):
            file.execute("DELETE FROM counts WHERE environment = ?", own)

    def _end(self, file: sqlite3.Connection) -> None:
        """Delete what a consent leaves when it ends."""
        own = (self.environment,)
        for table in ("drafts", "counts", "secrets"):
            file.execute(f"DELETE FROM {table} WHERE environment = ?", own)  # noqa: S608
        if file.execute("SELECT 1 FROM secrets WHERE environment <> ?", (ACCOUNT,)).fetchone() is None:
            file.execute("DELETE FROM secrets")

    # The connection

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the file's lock from its beginning: committed, or rolled back by an exception."""
        with self._read() as file:
            file.execute("BEGIN IMMEDIATE")
            yield file
            file.execute("COMMIT")

    @contextlib.contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread only; its errors with advice. An open transaction is rolled back at the end."""
        if self.path is None:
            self.check_health()
        with self._lock:
            try:
                yield self._connected()
            except StateError:
                raise
            except (sqlite3.Error, OSError, ValueError, TypeError, msgspec.MsgspecError) as error:
                raise StateError(_explained(self.path, error)) from error
            finally:
                if self._connection is not None and self._connection.in_transaction:
                    self._connection.rollback()

    def _connected(self) -> sqlite3.Connection:
        assert self.path is not None
        if self._connection is not None and (not self.exists or self.path.stat().st_ino != self._inode):
            self.close()  # deleted meanwhile
        if self._connection is None:
            if not self.exists:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):  # opening an existing one would drop this process's locks on it
                    self.path.touch(mode=0o600, exist_ok=False)  # it holds a secret
            connection = sqlite3.connect(self.path, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)
            try:
                connection.execute("PRAGMA secure_delete = ON")
                _check_format(connection, self.path)
            except BaseException:
                connection.close()
                raise
            self._connection, self._inode = connection, self.path.stat().st_ino
        return self._connection


def _check_format(file: sqlite3.Connection, path: Path) -> None:
    """Create the tables in a new file. Raises StateError for a file that is not ours, or of another release."""
    (found,) = file.execute("PRAGMA application_id").fetchone()
    if found == 0 and file.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
        file.execute("BEGIN IMMEDIATE")
        if file.execute("PRAGMA user_version").fetchone() == (0,):  # else another process was faster
            for statement in filter(str.strip, SCHEMA.split(";")):
                file.execute(statement)
            file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            file.execute(f"PRAGMA user_version = {FORMAT}")
        file.execute("COMMIT")
        return
    if found != APPLICATION_ID:
        raise StateError(f"Cannot use {path}: it is another program's file. Move it away.")
    (version,) = file.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        raise StateError(f"Cannot use {path}: another release of napari-telemetry wrote it. Update it, or delete the file.")


def _sent(row: Iterable[Any]) -> SentBatch:
    at, service, server, week, level, identifier, request, receipt, state, is_to_delete = row
    known = (_instant(at), service, server, week, Level(level), identifier, request, receipt, state)
    return SentBatch(*known, is_to_delete=bool(is_to_delete))


def _text(instant: datetime) -> str:
    """An instant as text in UTC, of one length, so that texts are ordered as instants are."""
    return instant.astimezone(timezone.utc).isoformat(timespec="microseconds")


_instant = datetime.fromisoformat


def _is_busy(error: Exception) -> bool:
    """SQLite has no codes for it before Python 3.11, so its words decide."""
    return isinstance(error, sqlite3.OperationalError) and ("lock" in str(error).lower() or "busy" in str(error).lower())


def _explained(path: Path | None, error: Exception) -> str:
    """Say what happened to the file, and what to do."""
    said = str(error).lower()
    if _is_busy(error):
        return f"Cannot use {path} right now: another process is using it. Try again."
    if "full" in said or getattr(error, "errno", None) == 28:
        return f"Cannot write {path}: the disk is full. Free some space; until then nothing is counted or remembered."
    if not isinstance(error, (sqlite3.OperationalError, OSError)) or "no such" in said or "decode" in said:
        return (
            f"Cannot use {path}: it is damaged ({error}). Delete the file; then agree again if you like: "
            "napari-telemetry consent ask"
        )
    return (
        f"Cannot use {path}: {error}. Make its folder writable, or set NAPARI_UPDATE_STATE to one that is. "
        "Until then nothing is counted or remembered."
    )
