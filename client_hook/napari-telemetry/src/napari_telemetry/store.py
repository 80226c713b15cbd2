"""Telemetry state of an account, in one SQLite file that its processes share.

Each method is one transaction. WAL is not used: it fails on network file systems.
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
SENDING_TIMEOUT = timedelta(minutes=2)
"""After this long an unfinished report is lost."""
RETENTION = timedelta(days=60)
"""From the start of the week."""
DELETION_TIMEOUT = timedelta(days=365)
"""From the start of the week; long, because clocks may be wrong."""
MAX_KINDS = 20_000
"""Per week."""
ACCOUNT = ""
"""Key of the account's row in ``secrets``."""
PROMPT_CLAIM_WINDOW = timedelta(minutes=10)
"""Of processes that start together, only one asks."""

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
"""``drafts.version`` counts changes. ``outbox.state``: sending, answered or lost. ``weeks``: the first, and forgotten ones."""


class Draft(Struct, frozen=True):
    """``level``: highest level of its data; ``rejected``: why a server rejected it."""

    week: str
    consent: int
    level: Level
    info: EnvironmentInfo
    version: int
    sent_version: int
    rejected: str | None

    @property
    def is_unsent(self) -> bool:
        return self.version > self.sent_version


class Counts(Struct, frozen=True):
    """Exact; reports round down."""

    commands: Mapping[str, int] = {}
    layers: Mapping[LayerKind, int] = {}


class Backoff(Struct, frozen=True):
    """``failures``: in a row; ``reason``: for people."""

    set_at: datetime
    not_before: datetime
    failures: int = 0
    reason: str | None = None

    def is_active(self, now: datetime) -> bool:
        """Ignore a pause set in the future: the clock was set back."""
        return self.set_at <= now < self.not_before <= self.set_at + timedelta(days=8)


class PreparedBatch(Struct, frozen=True):
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
    """``receipt``: as received, empty without a response. ``state``: sending, answered or lost."""

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
    """``forgotten``: weeks that must not be sent."""

    history: list[ConsentRecord] = []
    prompts: list[datetime] = []
    secrets: tuple[bytes, bytes] | None = None
    drafts: list[Draft] = []
    counts: dict[str, Counts] = {}
    sent: list[SentBatch] = []
    """Of this environment."""
    identifiers: list[SentBatch] = []
    """Of the account: what servers may store."""
    deletions: list[tuple[str, str, str]] = []
    """Week, server, identifier."""
    revisions: dict[str, int] = {}
    first_week: str | None = None
    forgotten: list[str] = []
    backoff: Backoff | None = None

    @property
    def consent(self) -> ConsentRecord | None:
        return self.history[-1] if self.history else None

    def next_draft(self, now: datetime, level: Level) -> Draft | None:
        """Older drafts go first, rejected ones last."""
        ready = [
            draft
            for draft in self.drafts
            if draft.is_unsent and draft.week not in self.forgotten and draft.week <= week_of(now) and is_open(draft.week, now)
        ]
        if level is Level.NONE:
            return None
        return min(ready, key=lambda draft: (draft.rejected is not None, draft.week), default=None)


class Store:
    """Keeps one connection; thread-safe. Every method raises StateError.

    ``environment``: see `napari_update_hook.state.environment_id`.
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
        return self.path is not None and self.path.exists()

    def has_changed(self) -> bool:
        """Includes changes by this process."""
        with self._lock:
            if not self.exists:
                seen: Any = None
            else:
                with self._read() as file:
                    seen = (file.execute("PRAGMA data_version").fetchone(), file.total_changes, self._inode)
            before, self._seen = self._seen, seen
            return bool(before != seen)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    # Sending

    def begin_sending(
        self, batch: PreparedBatch, decide: Callable[[ConsentRecord | None], Decision], now: datetime
    ) -> int | None:
        """Return the number in the outbox, or None if the report must not leave.

        The only gate for reports, on the file that records a "no".
        """
        with self._write() as file:
            self._expire_sending(file, now)
            consent = self._consent(file)
            may_leave = (
                # made under the current consent, at a permitted level
                consent is not None
                and consent.number == batch.consent
                and decide(consent).level.includes(batch.level)
                # of an open week that is not forgotten
                and is_open(batch.week, now)
                and batch.week not in self._forgotten(file, batch.service)
                # not sent by another process
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
                    batch.revision, _utc_text(now), batch.body.decode(),
                ),
            ).lastrowid  # fmt: skip

    # Consent

    def record(self, record: ConsentRecord, *, may_extend: bool = True) -> ConsentRecord:
        """Return the record with its number. ``may_extend``: whether the package stayed installed.

        Unless it extends the current consent, unsent data and the environment's secret are deleted, and the account's with the
        last consent. A report in transit is deleted on the server.
        """
        with self._write() as file:
            return self._record(file, record, may_extend)

    def claim_prompt(self, at: datetime) -> bool:
        """Return False if another process has just asked."""
        with self._write() as file:
            (last,) = file.execute("SELECT max(at) FROM prompts WHERE environment = ?", (self.environment,)).fetchone()
            if last is not None and _instant(last) <= at < _instant(last) + PROMPT_CLAIM_WINDOW:
                return False
            file.execute("INSERT INTO prompts VALUES (?, ?)", (self.environment, _utc_text(at)))
            return True

    def forget(self, service: str, week: str) -> tuple[list[tuple[str, str]], int, int]:
        """Block all weeks of the account, delete their data, and schedule deletion on servers.

        Return (service, week) pairs, and how many requests and drafts were deleted.
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

    # Collecting

    def prepare(
        self, settings: TelemetrySettings, decide: Callable[[ConsentRecord | None], Decision], info: EnvironmentInfo
    ) -> tuple[Decision, View]:
        """Purge and update this week's draft. A lower maximum in Preferences lowers the consent. ``info``: at level full."""
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
                self._downgrade_unsent(file, decision.level)
                known = info if decision.level.includes(Level.MIDDLE) else msgspec.structs.replace(info, plugins={})
                self._upsert_draft(file, week_of(now), consent, decision.level, known)
            return decision, self._view(file, service)

    def add(self, consent: int, info: EnvironmentInfo, counted: Mapping[str, Counts]) -> bool:
        """Return False unless that consent is in effect at level full."""
        with self._write() as file:
            current = self._consent(file)
            if current is None or current.number != consent or current.level is not Level.FULL:
                return False
            for week, counts in counted.items():
                if self._upsert_draft(file, week, current, Level.FULL, info):
                    file.execute(
                        "UPDATE drafts SET version = version + 1 WHERE environment = ? AND week = ?", (self.environment, week)
                    )
                    self._add_counts(file, week, counts)
        return True

    # Outcomes

    def finish_sending(
        self, number: int, receipt: str | None, backoff: Backoff, *, version: int | None = None, revision: int = 0,
        rejected: str | None = None,
    ) -> None:  # fmt: skip
        """``receipt``: None without a response; ``version``, ``revision``: what the server has; ``rejected``: why not."""
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
        with self._write() as file:
            self._back_off(file, service, backoff)

    def finish_deletion(self, identifier: str, server: str, now: datetime) -> bool:
        """Return False if a report was in transit: delete again.

        Other environments, whose reports were deleted too, send the week again.
        """
        with self._write() as file:
            self._expire_sending(file, now)
            of_it = "identifier = ? AND server = ?"
            if self._is_sending(file, of_it, identifier, server):
                return False
            week = file.execute(f"SELECT week FROM outbox WHERE {of_it}", (identifier, server)).fetchone()  # noqa: S608
            file.execute(
                f"DELETE FROM outbox WHERE {of_it} AND is_to_delete AND request = ''",  # noqa: S608
                (identifier, server),
            )
            file.execute(f"UPDATE outbox SET is_to_delete = 0 WHERE {of_it}", (identifier, server))  # noqa: S608
            file.execute("UPDATE drafts SET version = version + 1 WHERE week = ?", week or ("",))
        return True

    # Reading

    def view(self, service: str) -> View:
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
        entries = [(environment, _sent_batch(row)) for environment, *row in outbox]
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
        """Raise StateError unless every page is readable and the file writable."""
        if self.path is None:
            raise StateError("Nothing can be saved: this account has no home folder. Set NAPARI_UPDATE_STATE to a folder.")
        if self.exists:
            with self._read() as file:
                (verdict,) = file.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    raise sqlite3.DatabaseError("malformed")
                file.execute("BEGIN IMMEDIATE")
                file.execute("CREATE TABLE probe AS SELECT zeroblob(8192) AS filling")  # rolled back by `_read`

    def compact(self) -> None:
        """Leave no deleted data in free pages."""
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
                self.environment, _utc_text(record.at), record.level.value, record.schema_version, record.service,
                _utc_text(record.until) if record.until else None, record.means,
            ),
        ).lastrowid  # fmt: skip
        if may_extend and extends_consent(previous, record):
            self._downgrade_unsent(file, record.level)
            file.execute("UPDATE drafts SET consent = ? WHERE environment = ?", (number, self.environment))
        else:
            self._delete_consent_data(file)
            # may arrive after this answer, however old: the clock may have jumped
            file.execute("UPDATE outbox SET is_to_delete = 1 WHERE state = 'sending' AND environment = ?", (self.environment,))
        if record.level is not Level.NONE:
            for owner in (ACCOUNT, self.environment):
                file.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (owner, new_secret()))
        return msgspec.structs.replace(record, number=number or 0)

    def _purge(self, file: sqlite3.Connection, now: datetime) -> None:
        """Weeks far ahead come from a wrong clock. Forgotten weeks stay: a briefly wrong clock must not unblock them."""
        self._expire_sending(file, now)
        consent = self._consent(file)
        if consent is not None and consent.level is not Level.NONE and has_ended(consent, now):
            self._delete_consent_data(file)
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
        for number, at in file.execute("SELECT number, at FROM outbox WHERE state = 'sending'").fetchall():
            if abs(now - _instant(at)) >= SENDING_TIMEOUT:
                file.execute("UPDATE outbox SET state = 'lost' WHERE number = ?", (number,))

    def _back_off(self, file: sqlite3.Connection, service: str, backoff: Backoff) -> None:
        values = (
            self.environment,
            service,
            _utc_text(backoff.set_at),
            _utc_text(backoff.not_before),
            backoff.failures,
            backoff.reason,
        )
        file.execute("INSERT OR REPLACE INTO backoffs VALUES (?, ?, ?, ?, ?, ?)", values)

    def _upsert_draft(
        self, file: sqlite3.Connection, week: str, consent: ConsentRecord, level: Level, info: EnvironmentInfo
    ) -> bool:
        if week in self._forgotten(file, consent.service):
            return False
        file.execute(
            "INSERT INTO drafts VALUES (?, ?, ?, ?, ?, 1, 0, NULL) ON CONFLICT DO UPDATE SET "
            "level = excluded.level, info = excluded.info, version = version + 1, rejected = NULL "
            "WHERE level <> excluded.level OR info <> excluded.info",
            (self.environment, week, consent.number, level.value, encode_info(info)),
        )
        return True

    def _add_counts(self, file: sqlite3.Connection, week: str, counts: Counts) -> None:
        own = (self.environment, week)
        (kinds,) = file.execute("SELECT count(*) FROM counts WHERE environment = ? AND week = ?", own).fetchone()
        rows = [("command", key, count) for key, count in counts.commands.items()]
        rows += [("layer", msgspec.json.encode(kind).decode(), count) for kind, count in counts.layers.items()]
        where = "WHERE environment = ? AND week = ? AND kind = ? AND key = ?"
        for kind, key, count in rows:
            known = file.execute(
                f"UPDATE counts SET count = count + ? {where}",  # noqa: S608
                (count, *own, kind, key),
            ).rowcount
            if not known and kinds < MAX_KINDS:
                file.execute("INSERT INTO counts VALUES (?, ?, ?, ?, ?)", (*own, kind, key, count))
                kinds += 1

    def _downgrade_unsent(self, file: sqlite3.Connection, level: Level) -> None:
        """Lowered drafts are sent again, to shrink the servers' copies too."""
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

    def _delete_consent_data(self, file: sqlite3.Connection) -> None:
        own = (self.environment,)
        for table in ("drafts", "counts", "secrets"):
            file.execute(f"DELETE FROM {table} WHERE environment = ?", own)  # noqa: S608
        if file.execute("SELECT 1 FROM secrets WHERE environment <> ?", (ACCOUNT,)).fetchone() is None:
            file.execute("DELETE FROM secrets")

    # The connection

    @contextlib.contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """Locks the file from the start."""
        with self._read() as file:
            file.execute("BEGIN IMMEDIATE")
            yield file
            file.execute("COMMIT")

    @contextlib.contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """Locks out other threads; rolls back an open transaction."""
        if self.path is None:
            self.check_health()
        with self._lock:
            try:
                yield self._connected()
            except StateError:
                raise
            except (sqlite3.Error, OSError, ValueError, TypeError, msgspec.MsgspecError) as error:
                raise StateError(_advice(self.path, error)) from error
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
                with contextlib.suppress(FileExistsError):  # opening an existing file would drop this process's locks
                    self.path.touch(mode=0o600, exist_ok=False)  # contains secrets
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
    """Raises StateError for a foreign file."""
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
        raise StateError(f"Cannot use {path}: it belongs to another program. Move it away.")
    (version,) = file.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        raise StateError(f"Cannot use {path}: another release wrote it. Update napari-telemetry, or delete the file.")


def _sent_batch(row: Iterable[Any]) -> SentBatch:
    at, service, server, week, level, identifier, request, receipt, state, is_to_delete = row
    known = (_instant(at), service, server, week, Level(level), identifier, request, receipt, state)
    return SentBatch(*known, is_to_delete=bool(is_to_delete))


def _utc_text(instant: datetime) -> str:
    """UTC text of fixed length sorts by time."""
    return instant.astimezone(timezone.utc).isoformat(timespec="microseconds")


_instant = datetime.fromisoformat


def _is_busy(error: Exception) -> bool:
    """SQLite has no error codes before Python 3.11."""
    return isinstance(error, sqlite3.OperationalError) and ("lock" in str(error).lower() or "busy" in str(error).lower())


def _advice(path: Path | None, error: Exception) -> str:
    said = str(error).lower()
    if _is_busy(error):
        return f"Cannot use {path} right now: another process is using it. Try again."
    if "full" in said or getattr(error, "errno", None) == 28:
        return f"Cannot write {path}: the disk is full. Free some space; until then nothing is saved."
    if not isinstance(error, (sqlite3.OperationalError, OSError)) or "no such" in said or "decode" in said:
        return (
            f"Cannot use {path}: it is damaged ({error}). Delete the file; then agree again if you like: "
            "napari-telemetry consent ask"
        )
    return (
        f"Cannot use {path}: {error}. Make its folder writable, or set NAPARI_UPDATE_STATE to one that is. "
        "Until then nothing is saved."
    )
