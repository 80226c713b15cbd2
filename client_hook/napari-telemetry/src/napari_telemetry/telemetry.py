"""Which report goes out, when, and what becomes of it.

One report a request, one request a day at most. A week that is over and unsent goes before the current one, because its
time runs out; one that a server refused goes last, so that it holds nothing up. Nothing here raises: updates never depend
on telemetry.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from napari_telemetry.decision import ConsentRecord, Decision, decide, has_ended
from napari_telemetry.environment import Environment
from napari_telemetry.errors import ServerAnswerError, ServerUnreachableError, StateBusyError, StateError, UpdateHookError
from napari_telemetry.facts import Facts, facts_of
from napari_telemetry.identity import environment_id, identifier, new_secret
from napari_telemetry.pacing import DAY, Pause, after_failure, after_success, retry_after_seconds
from napari_telemetry.report import ReportKey, assumed_allow_list, build_batch
from napari_telemetry.settings import ClientSettings
from napari_telemetry.state import CachedAnswer, ClientStore, SentBatch
from napari_telemetry.state.drafts import Draft
from napari_telemetry.transport import Transport, decoded
from napari_telemetry.weeks import is_open, week_of
from napari_telemetry.wire import SCHEMA_VERSION, AllowList, BasicReport, Batch, BatchAnswer, Level, Receipt

TRIES_TO_READ = 5
"""The record and the secrets lie in two files, which change one after the other."""
NOBODY_TO_BE = "Telemetry is off: the secret of your account is gone, because its file was deleted or your consent had ended."
LEASE = timedelta(minutes=2)
"""So long one process alone may try to send; longer than any try takes."""


class TelemetryOutcome(Struct, frozen=True):
    """What became of telemetry in a check.

    ``level``: the one in force; ``receipt``: of the report that was sent, of week ``week``; ``reason``: why none was sent,
    or less. ``is_restricted``: whether the person should hear the reason unasked.
    """

    level: Level
    receipt: Receipt | None = None
    week: str | None = None
    reason: str | None = None
    is_restricted: bool = False


class Prepared(Struct, frozen=True):
    """A report that is ready to leave, as the exact body of a request. ``draft``: the state of the week that it tells."""

    server: str
    draft: Draft
    key: ReportKey
    body: bytes


class _Occasion(Struct, frozen=True):
    """The check with which a report may go. ``epoch``: of the consent by which that was decided, see `Drafts.epoch`."""

    transport: Transport
    may_send: Callable[[], bool]
    epoch: int


def next_to_send(
    drafts: Iterable[Draft], service: str, now: datetime, forgotten: set[tuple[str, str]], level: Level
) -> Draft | None:
    """Return the week that goes out next, cut to ``level``, or None where everything was sent.

    Over and unsent before current, refused after those that were not, older before newer; none that no server takes at ``now``.
    """
    current = week_of(now)
    ready = [
        draft
        for draft in drafts
        if draft.is_unsent
        and draft.service == service
        and (service, draft.week) not in forgotten
        and draft.week <= current
        and is_open(draft.week, now)
    ]
    ready.sort(key=lambda draft: (draft.refused is not None, draft.week))
    if not ready:
        return None
    return msgspec.structs.replace(ready[0], level=min(ready[0].level, level, key=lambda one: one.rank))


class Telemetry:
    """The telemetry of one environment. ``rng``: spreads the pauses."""

    def __init__(
        self, settings: ClientSettings, store: ClientStore, environment: Environment, rng: random.Random | None = None
    ) -> None:
        self._settings = settings
        self._store = store
        self._environment = environment
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._process = f"{os.getpid()}-{threading.get_ident()}"

    def decision(self) -> Decision:
        """Return which level is in force, and why it is not more; see `decision_and_record`."""
        return self.decision_and_record()[0]

    def decision_and_record(self) -> tuple[Decision, ConsentRecord | None]:
        """Return which level is in force, and why it is not more, with the record from which that follows.

        Where the record can't be read, or the secret that came with it is gone, nothing may be sent.
        """
        try:
            for _ in range(TRIES_TO_READ):
                record = self._store.consents.current()
                decision = decide(record, self._settings, self._settings.now())
                if decision.level is Level.NONE or self._store.consents.secrets() is not None:
                    return decision, record
                if record == self._store.consents.current():  # else it was withdrawn between the two
                    reason = f"{NOBODY_TO_BE} To agree again: napari-telemetry consent set {decision.level}"
                    return Decision(Level.NONE, reason, True), record
        except StateError as error:
            return Decision(Level.NONE, f"Telemetry is off: {error}", True, isinstance(error, StateBusyError)), None
        return Decision(Level.NONE, "Telemetry is off: your answer is changing all the time.", True, True), None

    def tidy(self) -> None:
        """Remove what an ended consent left, weeks that closed, and what no server can have any more. Raises StateError."""
        now = self._settings.now()
        own, account = self._store.files
        if not own.exists and not account.exists:
            return
        if has_ended(self._store.consents.current(), now):
            self._store.consents.end(now)
        decision = self.decision()
        if decision.level is not Level.NONE and decision.is_restricted:  # by an administrator, after more was collected
            self._store.consents.cut(decision.level)
        self._store.drafts.drop_closed(now)
        self._store.sendings.drop_old(now)

    def note_week(self) -> None:
        """Write down how this environment looks this week, where there is consent. Raises StateError."""
        level = self.decision().level
        week, service = week_of(self._settings.now()), self._settings.service
        if level is not Level.NONE and (service, week) not in self._store.sendings.forgotten():
            self._store.drafts.note(service, week, level, facts_of(self._environment, level))

    def preview(self, transport: Transport) -> Prepared | None:
        """Return what goes out next, or None where there is nothing. Changes nothing but the cached lists.

        Raises UpdateHookError.
        """
        level = self.decision().level
        if level is Level.NONE:
            return None
        now, service = self._settings.now(), self._settings.service
        week = week_of(now)
        drafts = self._store.drafts.all()
        current = next((draft for draft in drafts if (draft.service, draft.week) == (service, week)), None)
        facts = facts_of(self._environment, level)
        if current is None:
            drafts.append(Draft(service, week, level, facts, 1, 0, None))
        elif (current.level, current.facts) != (level, facts):
            drafts.remove(current)
            drafts.append(msgspec.structs.replace(current, level=level, facts=facts, changed=current.changed + 1))
        draft = next_to_send(drafts, service, now, self._store.sendings.forgotten(), level)
        if draft is None:
            return None
        revision = self._store.sendings.revision(service, draft.week) + 1
        return self._prepared(draft, revision, self._allow_list(transport, draft.level))

    def example(self, level: Level, facts: Facts, listed: frozenset[str]) -> bytes:
        """Return what a report of this environment would look like, as JSON, with an identifier that nobody has.

        For the question about consent: no secret exists before it, and the server's lists are fetched only after it.
        ``level`` must not be none. ``listed``: normalized names of the packages of the public index, as far as they are known.
        """
        week = week_of(self._settings.now())
        throwaway = new_secret()
        key = ReportKey(week, identifier(throwaway, self._settings.service, week), environment_id(throwaway, week), 1)
        return msgspec.json.encode(build_batch(level, key, facts, assumed_allow_list(facts, listed), first_report=True))

    def send(self, transport: Transport, may_send: Callable[[], bool] = lambda: True) -> TelemetryOutcome:
        """Send the next report, if it is time, before the update check. Raises nothing.

        ``may_send``: asked just before the report would leave, for what a person said that no file says yet.
        """
        occasion = _Occasion(transport, may_send, self._epoch())  # before it is decided
        decision = self.decision()
        outcome = TelemetryOutcome(decision.level, reason=decision.reason, is_restricted=decision.is_restricted)
        try:
            self.tidy()
            if decision.level is Level.NONE:
                return outcome
            self.note_week()
            return self._send_if_due(occasion, decision)
        except UpdateHookError as error:
            return TelemetryOutcome(decision.level, reason=f"Nothing was sent: {error}", is_restricted=True)
        except Exception as error:  # a report that can't be made must not end the check
            reason = f"Nothing was sent: the report could not be made ({type(error).__name__}). Please report this."
            return TelemetryOutcome(decision.level, reason=reason, is_restricted=True)

    def _epoch(self) -> int:
        """The epoch of the consent; where it can't be read one that none is, and the decision says why."""
        try:
            return self._store.drafts.epoch()
        except StateError:
            return -1

    def _send_if_due(self, occasion: _Occasion, decision: Decision) -> TelemetryOutcome:
        now, service = self._settings.now(), self._settings.service
        outcome = TelemetryOutcome(decision.level, reason=decision.reason, is_restricted=decision.is_restricted)
        draft = next_to_send(self._store.drafts.all(), service, now, self._store.sendings.forgotten(), decision.level)
        if draft is None:
            return outcome
        before = self._store.answers.pause(service)
        if not self._store.answers.claim(service, now, LEASE):
            said = f" {before.reason}" if before and before.reason else ""
            until = f"{before.not_before:%Y-%m-%d %H:%M} UTC" if before else "soon"
            reason = decision.reason or f"The next report goes out after {until}: one a day at most.{said}"
            return msgspec.structs.replace(outcome, reason=reason)
        try:
            return self._send(occasion, decision, draft)
        except ServerAnswerError as error:
            return TelemetryOutcome(decision.level, reason=self._refused(error, draft, decision), is_restricted=True)
        except UpdateHookError as error:
            self._store.answers.set_pause(service, after_failure(now, before, str(error), None, self._rng))
            reason = f"Nothing was sent: {error} The report is kept and sent later."
            return TelemetryOutcome(decision.level, reason=reason, is_restricted=True)

    def _send(self, occasion: _Occasion, decision: Decision, draft: Draft) -> TelemetryOutcome:
        service, sendings = self._settings.service, self._store.sendings
        waits = "Nothing was sent: what you said just now could not be written down yet."
        held = TelemetryOutcome(decision.level, reason=waits, is_restricted=True)
        allowed = self._allow_list(occasion.transport, draft.level)
        prepared = self._prepared(draft, sendings.reserve_revision(service, draft.week), allowed)
        batch = SentBatch(self._settings.now(), service, prepared.server, draft.week, draft.level, prepared.body.decode())
        if not occasion.may_send():
            return held
        try:
            number = sendings.begin(batch, prepared.key.identifier, self._process, occasion.epoch)
            if number is None:
                return TelemetryOutcome(decision.level, reason="Nothing was sent: your answer has changed meanwhile.")
            if not occasion.may_send():  # to begin takes three transactions, each of which may wait for a file
                sendings.take_back(number)
                return held
            url = f"{prepared.server}/api/updates/{draft.level}"
            answer = occasion.transport.post(url, prepared.body)
            told: BatchAnswer = decoded(answer.body or b"", BatchAnswer, prepared.server)
            sendings.note_receipt(number, msgspec.json.encode(told.receipt).decode())
        except ServerAnswerError as error:
            if number is not None:
                sendings.note_receipt(number, msgspec.json.encode({"refused": error.status, "reason": str(error)}).decode())
            raise
        finally:
            sendings.end(self._process)
        return self._taken(decision, prepared, told)

    def _taken(self, decision: Decision, prepared: Prepared, told: BatchAnswer) -> TelemetryOutcome:
        """Write down what a receipt says."""
        service, week, receipt, now = self._settings.service, prepared.draft.week, told.receipt, self._settings.now()
        if receipt.stored:
            self._store.drafts.cover(service, week, prepared.draft.changed)
            self._store.answers.set_pause(service, after_success(now, DAY, self._rng))
        else:
            self._store.sendings.note_revision(service, week, receipt.revision)
            reason = receipt.reason or "The server did not say why."
            if receipt.revision <= prepared.key.revision:  # not because a later one is held: a higher one may not help
                self._store.drafts.refuse(service, week, reason)
            before = self._store.answers.pause(service)
            self._store.answers.set_pause(service, after_failure(now, before, reason, None, self._rng))
        return TelemetryOutcome(decision.level, receipt, week, decision.reason, decision.is_restricted)

    def _refused(self, error: ServerAnswerError, draft: Draft, decision: Decision) -> str:
        """Act on a refusal, and say for people what it means."""
        service, now = self._settings.service, self._settings.now()
        is_off = error.status == 410 and error.is_problem  # a page of some proxy is not the service's word
        if is_off:  # nothing was taken, so nothing has to wait
            self._store.answers.set_pause(service, Pause(now, now))
        if is_off and draft.level is not decision.level:
            self._store.drafts.drop([draft.week])
            return f"{error} What was collected for {draft.week} was dropped."
        if is_off:
            means = f"the server switched the level {draft.level} off"
            self._store.consents.record(ConsentRecord(now, Level.NONE, SCHEMA_VERSION, service, None, means))
            return f"{error} Telemetry is off from now on."
        reason = f"The report was not taken, and is kept. {error}"
        if error.kind == "schema-retired":
            reason = "The server no longer takes what this version sends: update napari-telemetry. The report is kept."
        if error.status == 404:
            reason = f"{service} does not take telemetry. The report is kept until its week closes."
        if 400 <= error.status < 500 and error.status != 429:
            self._store.drafts.refuse(service, draft.week, reason)
        retry = retry_after_seconds(error.retry_after, now)
        before = self._store.answers.pause(service)
        self._store.answers.set_pause(service, after_failure(now, before, str(error), retry, self._rng))
        return reason

    def _allow_list(self, transport: Transport, level: Level) -> AllowList:
        """The public strings for a level, from its own host; the cached list where that can't be reached."""
        url = f"{self._settings.level_servers[level]}/api/telemetry/allowed/{level}"
        cached = self._store.answers.cached(url)
        try:
            answer = transport.get(url, etag=cached.etag if cached else None)
        except ServerUnreachableError:
            if cached is None:
                raise
            answer = None
        body = answer.body if answer and answer.body is not None else (cached.body if cached else b"")
        allowed: AllowList = decoded(body, AllowList, url)
        if answer is not None and answer.body is not None:
            self._store.answers.keep(url, CachedAnswer(self._settings.now(), body))
        return allowed

    def _prepared(self, draft: Draft, revision: int, allowed: AllowList) -> Prepared:
        secrets: Any = self._store.consents.secrets()
        if secrets is None:
            raise UpdateHookError(NOBODY_TO_BE)
        service = self._settings.service
        key = ReportKey(
            draft.week, identifier(secrets[0], service, draft.week), environment_id(secrets[1], draft.week), revision
        )
        counts = self._store.drafts.counts(draft.week)
        first = self._store.sendings.first_week(service)
        batch: Batch[BasicReport] = build_batch(
            draft.level,
            key,
            draft.facts,
            allowed,
            first_report=first in (None, draft.week),
            commands=counts.commands,
            layers=counts.layers,
        )
        return Prepared(self._settings.level_servers[draft.level], draft, key, msgspec.json.encode(batch))
