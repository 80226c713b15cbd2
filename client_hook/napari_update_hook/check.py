"""One update check, and the batch that it carries where a consent record says so.

Without consent exactly one request leaves: the plain ``GET``. With it, the allow-list is fetched, the batch built of what it
allows, and check and batch travel as one ``POST``. Where that fails, the check falls back to the ``GET``: updates never depend
on telemetry.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from packaging.utils import canonicalize_name

from napari_update_hook.consent import ConsentRecord, Decision, decide
from napari_update_hook.environment import Environment
from napari_update_hook.errors import ServerAnswerError, ServerUnreachableError, SettingsError, StateError, UpdateHookError
from napari_update_hook.identity import environment_id, identifier
from napari_update_hook.report import ReportKey, build_batch
from napari_update_hook.settings import ClientSettings
from napari_update_hook.store import CachedAnswer, ClientStore, SentBatch
from napari_update_hook.switches import update_check_switched_off
from napari_update_hook.transport import DEADLINE_S, Transport, decoded
from napari_update_hook.updates import UpdateRow, update_rows
from napari_update_hook.weeks import week_of
from napari_update_hook.wire import (
    SCHEMA_VERSION,
    AllowList,
    BasicReport,
    Batch,
    Level,
    PackageUpdate,
    Receipt,
    Updates,
)


class TelemetryOutcome(Struct, frozen=True):
    """What became of telemetry in a check: the level in force, the receipt of what was sent, or why nothing was.

    ``is_restricted``: whether less was sent than the person agreed to, so that they should hear the reason.
    """

    level: Level
    receipt: Receipt | None = None
    reason: str | None = None
    is_restricted: bool = False


class CheckResult(Struct, frozen=True):
    """What a check found. ``index_version``: None where the server can't tell; ``fetched_at``: of the answer that was used."""

    server: str
    python: str
    channel: str
    index_version: str | None
    fetched_at: datetime
    rows: list[UpdateRow]
    telemetry: TelemetryOutcome
    is_from_cache: bool = False
    notice: str | None = None


class _Found(Struct, frozen=True):
    """An answer to compare with, and where it came from."""

    packages: dict[str, PackageUpdate]
    index_version: str | None
    fetched_at: datetime
    fits_known: bool = True
    is_from_cache: bool = False
    notice: str | None = None


class _RawBatchAnswer(Struct):
    receipt: Receipt
    updates: msgspec.Raw


class _SummaryItem(Struct):
    name: str
    version: str
    normalized_name: str = ""


class UpdateClient:
    """Checks for updates from one environment, with the state in ``store``.

    ``deadline``: seconds that the check may take, and as many again that telemetry may take before it.
    """

    def __init__(
        self, settings: ClientSettings, store: ClientStore, environment: Environment, deadline: float = DEADLINE_S
    ) -> None:
        self._deadline = deadline
        self._settings = settings
        self._store = store
        self._environment = environment
        self._query = {"python": environment.python, "channel": environment.channel}

    def decision(self) -> Decision:
        """Return which level is in force, and why it is not more. Where the record can't be read, nothing may be sent."""
        try:
            record = self._store.consent()
        except StateError as error:
            return Decision(Level.NONE, f"Telemetry is off: {error}", True)
        return decide(record, self._settings, self._settings.now())

    def set_consent(self, level: Level, *, until: datetime | None, means: str) -> ConsentRecord:
        """Record an answer for the service of the settings, and return it. Nothing is sent. Raises StateError."""
        record = ConsentRecord(self._settings.now(), level, SCHEMA_VERSION, self._settings.service, until, means)
        self._store.record_consent(record)
        return record

    def preview(self) -> bytes | None:
        """Return the JSON that the next check sends, byte for byte, or None where none is sent. Raises UpdateHookError."""
        level = self.decision().level
        if level is Level.NONE:
            return None
        with Transport(self._deadline) as transport:
            batch = self._batch(level, self._allow_list(transport, level))
        return msgspec.json.encode(batch)

    def check(self) -> CheckResult:
        """Ask the server for updates, with the batch where there is consent.

        Raises ServerUnreachableError where there is neither a server nor an earlier answer, ServerAnswerError for a server that
        is no update server, SettingsError where the check is switched off.
        """
        if (switch := update_check_switched_off(self._settings.environ, self._settings.site)) is not None:
            raise SettingsError(f"The update check is off: {switch}.")
        decision = self.decision()
        outcome = TelemetryOutcome(decision.level, None, decision.reason, decision.is_restricted)
        found: _Found | None = None
        if decision.level is not Level.NONE:
            with Transport(self._deadline) as transport:
                found, outcome = self._send(transport, decision)
        if found is None:
            # with a deadline of its own: a level's host that a firewall silently drops must not use up the check's time
            with Transport(self._deadline) as transport:
                found = self._ask(transport)
        return CheckResult(
            server=self._settings.server,
            python=self._environment.python,
            channel=self._environment.channel,
            index_version=found.index_version,
            fetched_at=found.fetched_at,
            rows=update_rows(self._environment, found.packages, fits_known=found.fits_known),
            telemetry=outcome,
            is_from_cache=found.is_from_cache,
            notice=found.notice,
        )

    def _ask(self, transport: Transport) -> _Found:
        """The plain check: one GET that says Python and channel."""
        url = f"{self._settings.server}/api/updates"
        cached = self._cached_updates()
        try:
            answer = transport.get(url, etag=cached.etag if cached else None, query=self._query)
        except ServerAnswerError as error:
            if error.status == 404:
                return self._ask_todays_index(transport)
            if error.status in (429, 503) and cached:
                return self._from_cache(cached, str(error))
            raise
        except ServerUnreachableError as error:
            if cached:
                return self._from_cache(cached, str(error))
            raise
        if answer.body is None:
            if cached is None:
                raise ServerAnswerError(f"{self._settings.server} says that nothing has changed, but nothing was known.", 304)
            answer_body = cached.body
        else:
            answer_body = answer.body
        return self._used(answer_body)

    def _ask_todays_index(self, transport: Transport) -> _Found:
        """A server that has no update check is today's plugin index: it knows the newest versions, and not whom they fit."""
        answer = transport.get(f"{self._settings.server}/api/extended_summary")
        items: list[_SummaryItem] = decoded(answer.body or b"", list[_SummaryItem], self._settings.server)
        packages = {str(canonicalize_name(item.name)): PackageUpdate(latest=item.version) for item in items}
        notice = (
            f"{self._settings.server} is an index that knows the newest versions, but not which of them your Python "
            f"{self._environment.python_minor} can install, nor which were withdrawn."
        )
        return _Found(packages, None, self._settings.now(), fits_known=False, notice=notice)

    def _from_cache(self, cached: CachedAnswer, why: str) -> _Found:
        updates: Updates = decoded(cached.body, Updates, self._settings.server)
        notice = f"{why} This is the answer of {cached.fetched_at:%Y-%m-%d %H:%M} UTC."
        return _Found(updates.packages, updates.index_version, cached.fetched_at, is_from_cache=True, notice=notice)

    def _used(self, body: bytes) -> _Found:
        """Read an answer, and keep it for the next check."""
        now = self._settings.now()
        updates: Updates = decoded(body, Updates, self._settings.server)
        notice = None
        try:
            self._store.cache(self._updates_key(), CachedAnswer(now, body))
        except StateError as error:
            notice = str(error)
        return _Found(updates.packages, updates.index_version, now, notice=notice)

    def _updates_key(self) -> str:
        return f"{self._settings.server}/api/updates?python={self._environment.python}&channel={self._environment.channel}"

    def _cached_updates(self) -> CachedAnswer | None:
        try:
            return self._store.cached(self._updates_key())
        except StateError:
            return None

    def _send(self, transport: Transport, decision: Decision) -> tuple[_Found | None, TelemetryOutcome]:
        """Send the batch with the check. None as first where the check must still be asked for."""
        level = decision.level
        try:
            batch = self._batch(level, self._allow_list(transport, level))
            body = msgspec.json.encode(batch)
            self._store.note_sending(self._settings.service, batch.report.week, level, batch.report.identifier)
            self._store.note_revision(self._settings.service, batch.report.week, batch.report.revision)
            answer = self._post(transport, level, body)
        except ServerAnswerError as error:
            return None, TelemetryOutcome(level, None, self._refused(error, level), True)
        except UpdateHookError as error:
            return None, TelemetryOutcome(level, None, f"Nothing was sent: {error}", True)
        receipt = answer.receipt
        self._store.note_revision(self._settings.service, batch.report.week, receipt.revision)
        if receipt.stored:
            told = msgspec.json.encode(receipt).decode()
            sent = SentBatch(self._settings.now(), self._settings.service, batch.report.week, level, body.decode(), told)
            self._store.keep_sent(sent)
        outcome = TelemetryOutcome(level, receipt, decision.reason, decision.is_restricted)
        cached = self._cached_updates()
        try:
            if bytes(answer.updates) != b"null":
                return self._used(bytes(answer.updates)), outcome
            return (self._used(cached.body) if cached else None), outcome
        except ServerAnswerError:
            return None, outcome

    def _post(self, transport: Transport, level: Level, body: bytes) -> _RawBatchAnswer:
        cached = self._cached_updates()
        query = self._query | ({"known": cached.etag} if cached else {})
        server = self._settings.level_servers[level]
        answer = transport.post(f"{server}/api/updates/{level}", body, query=query)
        decoded_answer: _RawBatchAnswer = decoded(answer.body or b"", _RawBatchAnswer, server)
        return decoded_answer

    def _refused(self, error: ServerAnswerError, level: Level) -> str:
        if error.status == 410:
            self.set_consent(Level.NONE, until=None, means=f"the server switched the level {level} off")
            return f"{error} Telemetry is off from now on."
        if error.kind == "schema-retired":
            return "The server no longer takes what this version sends: update napari-update-hook."
        return f"The report was not taken, and is kept. {error}"

    def _allow_list(self, transport: Transport, level: Level) -> AllowList:
        """The public strings for a level, from its own host; the cached list where that can't be reached."""
        url = f"{self._settings.level_servers[level]}/api/telemetry/allowed/{level}"
        cached = self._store.cached(url)
        try:
            answer = transport.get(url, etag=cached.etag if cached else None)
        except ServerUnreachableError:
            if cached is None:
                raise
            answer = None
        body = answer.body if answer and answer.body is not None else (cached.body if cached else b"")
        allowed: AllowList = decoded(body, AllowList, url)
        if answer is not None and answer.body is not None:
            self._store.cache(url, CachedAnswer(self._settings.now(), body))
        return allowed

    def _batch(self, level: Level, allowed: AllowList) -> Batch[BasicReport]:
        """The batch of this week, one revision above the last one."""
        week = week_of(self._settings.now())
        service = self._settings.service
        secrets: Any = self._store.secrets()
        if secrets is None:
            raise UpdateHookError("The secret of your account is gone: give your consent anew.")
        key = ReportKey(
            week=week,
            identifier=identifier(secrets[0], service, week),
            environment=environment_id(secrets[1], week),
            revision=self._store.revision(service, week) + 1,
        )
        first = self._store.first_week(service)
        return build_batch(level, key, self._environment, allowed, first_report=first in (None, week))
