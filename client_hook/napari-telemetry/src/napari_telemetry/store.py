"""The telemetry state of a user account, in one SQLite file that all its processes share.

Each method is one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec

from napari_telemetry.consent_rules import ConsentRecord, Decision, extends_consent, has_ended
from napari_telemetry.database import Database
from napari_telemetry.environment import EnvironmentInfo, decode_info, encode_info, new_secret
from napari_telemetry.layers import LayerKind
from napari_telemetry.records import Backoff, Counts, Draft, PreparedBatch, SentBatch, View
from napari_telemetry.settings import TelemetrySettings
from napari_telemetry.weeks import closes_at, is_open, start_of, week_of
from napari_telemetry.wire import Level

SENDING_TIMEOUT = timedelta(minutes=2)
"""How long after its start an unfinished report counts as lost."""
RETENTION = timedelta(days=60)
"""How long to keep sent reports, from the start of the week."""
DELETION_TIMEOUT = timedelta(days=365)
"""How long to retry deletions, from the start of the week; long, because clocks may be wrong."""
MAX_KINDS = 20_000
"""Number of distinct commands and layer kinds per week."""
ACCOUNT = ""
"""Key of the account's row in ``secrets``."""
PROMPT_CLAIM_WINDOW = timedelta(minutes=10)
"""How long a prompt blocks prompts of other processes, so that only one of several asks."""


class Store(Database):
    """Reads and writes the state of one environment.

    ``environment``: see `napari_update_hook.state.environment_id`.
    """

    def __init__(self, folder: Path | None, environment: str) -> None:
        super().__init__(folder)
        self.environment = environment

    # Sending

    def begin_sending(
        self, batch: PreparedBatch, decide: Callable[[ConsentRecord | None], Decision], now: datetime
    ) -> int | None:
        """Add the report to the outbox and return its number, or None if it must not be sent.

        Every report passes this check, in the same file that records a refusal.
        """
        with self._write() as file:
            self._expire_sending(file, now)
            consent = self._consent(file)
            may_leave = (
                # built under the current consent, at a permitted level
                consent is not None
                and consent.number == batch.consent
                and decide(consent).level.includes(batch.level)
                # for an open week that is not forgotten
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
        """Save an answer and return it with its number. ``may_extend``: whether the package stayed installed.

        Unless it extends the current consent, this deletes unsent data and the environment's secret, and with the last
        consent the account's secret. A report in transit will be deleted on the server.
        """
        with self._write() as file:
            return self._record(file, record, may_extend)

    def claim_prompt(self, at: datetime) -> bool:
        """Record that a prompt is shown. Return False if another process has just shown it."""
        with self._write() as file:
            (last,) = file.execute("SELECT max(at) FROM prompts WHERE environment = ?", (self.environment,)).fetchone()
            if last is not None and _instant(last) <= at < _instant(last) + PROMPT_CLAIM_WINDOW:
                return False
            file.execute("INSERT INTO prompts VALUES (?, ?)", (self.environment, _utc_text(at)))
            return True

    def forget(self, service: str, week: str) -> tuple[list[tuple[str, str]], int, int]:
        """Block all weeks of the account, delete their data, and schedule deletion on servers.

        Return the (service, week) pairs, and the numbers of deleted requests and drafts.
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
        """Purge expired data, and update this week's draft from ``info``, given for level full.

        A lower maximum in Preferences lowers the consent.
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
                self._downgrade_unsent(file, decision.level)
                known = info if decision.level.includes(Level.MIDDLE) else msgspec.structs.replace(info, plugins={})
                self._upsert_draft(file, week_of(now), consent, decision.level, known)
            return decision, self._view(file, service)

    def add(self, consent: int, info: EnvironmentInfo, counted: Mapping[str, Counts]) -> bool:
        """Add counts by week. Return False unless that consent is in effect at level full."""
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
        """Record the outcome of a sent report.

        ``receipt``: None if there was no response. ``version``, ``revision``: what the server has now.
        ``rejected``: the reason for a rejection.
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
        """Save when the next request to ``service`` may be sent."""
        with self._write() as file:
            self._back_off(file, service, backoff)

    def finish_deletion(self, identifier: str, server: str, now: datetime) -> bool:
        """Record a deletion on a server. Return False if a report was in transit, so that deletion must be repeated.

        The server has also deleted the reports of other environments, which therefore send the week again.
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
        """Return the state as it concerns ``service``."""
        """Return the state as it concerns ``service``."""
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
            # it may arrive after this answer; age is ignored, because the clock may have jumped
            file.execute("UPDATE outbox SET is_to_delete = 1 WHERE state = 'sending' AND environment = ?", (self.environment,))
        if record.level is not Level.NONE:
            for owner in (ACCOUNT, self.environment):
                file.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (owner, new_secret()))
        return msgspec.structs.replace(record, number=number or 0)

    def _purge(self, file: sqlite3.Connection, now: datetime) -> None:
        """Delete expired data, and drafts of weeks far in the future, which come from a wrong clock.

        Forgotten weeks are kept: a briefly wrong clock must not unblock them.
        """
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
        """Remove data above ``level`` from drafts. They are sent again, so that servers replace their copies."""
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


def _sent_batch(row: Iterable[Any]) -> SentBatch:
    at, service, server, week, level, identifier, request, receipt, state, is_to_delete = row
    known = (_instant(at), service, server, week, Level(level), identifier, request, receipt, state)
    return SentBatch(*known, is_to_delete=bool(is_to_delete))


def _utc_text(instant: datetime) -> str:
    """Return UTC text of fixed length, which sorts by time."""
    return instant.astimezone(timezone.utc).isoformat(timespec="microseconds")


_instant = datetime.fromisoformat
