"""Choose the report to send, send it, and record the outcome.

One report per request, and one request per day. Past weeks go first, because they close soon; rejected weeks go last, so
that they do not block others. Generators yield the requests, so that the state is used only on the caller's thread.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import TypeVar

import msgspec
from msgspec import Struct
from napari_update_hook import environment as hook
from napari_update_hook.client import retry_after_s
from napari_update_hook.errors import ServerAnswerError, ServerUnreachableError, UpdateHookError

from napari_telemetry.consent_rules import SERVER_SWITCHED_OFF, ConsentRecord, Decision, decide
from napari_telemetry.environment import environment_info, environment_pseudonym, identifier
from napari_telemetry.errors import RefusedError
from napari_telemetry.records import Backoff, Counts, Draft, PreparedBatch, View
from napari_telemetry.report import ReportKey, build_batch
from napari_telemetry.settings import TelemetrySettings, lowest
from napari_telemetry.store import Store
from napari_telemetry.transport import Request, decode_answer
from napari_telemetry.wire import (
    SCHEMA_VERSION,
    AllowList,
    BatchAnswer,
    DeletedReports,
    IdentifierQuery,
    Level,
    Receipt,
)

DAY = timedelta(days=1)
FIRST_RETRY = timedelta(hours=1)
MAX_BACKOFF = timedelta(days=7)
JITTER = 0.1
T = TypeVar("T")


class SendResult(Struct, frozen=True):
    """The outcome of a send.

    ``level``: the effective level. ``receipt``: of the report of ``week``. ``reason``: why no report was sent, or less than
    agreed. ``deleted``: number of reports deleted on servers; None if no deletion was pending.
    ``problems``: failed deletions.
    """

    level: Level
    receipt: Receipt | None = None
    week: str | None = None
    reason: str | None = None
    deleted: int | None = None
    problems: tuple[str, ...] = ()


Steps = Generator[Request, "bytes | UpdateHookError", SendResult]


class Sender(Struct, frozen=True):
    """Sends reports and deletion requests for one environment.

    ``listed``: returns the plugin names of the public table.
    """

    settings: TelemetrySettings
    store: Store
    environment: hook.Environment
    listed: Callable[[], frozenset[str]]
    is_installed: Callable[[], bool]
    takes_reports: Callable[[], bool | None]
    system: tuple[str, str, str] | None = None
    rng: random.Random = random.Random(os.getpid())  # noqa: S311 - jitter, not security

    def decide(self, consent: ConsentRecord | None) -> Decision:
        installed, takes = self.is_installed(), self.takes_reports()
        return decide(consent, self.settings, self.settings.now(), is_installed=installed, takes_reports=takes)

    def steps(self) -> Steps:
        """Send the next report and pending deletions. Raises StateError; the result reports failed requests."""
        if not self.store.exists:
            return SendResult(Level.NONE, reason=self.decide(None).reason)
        decision, view, draft = self.prepare()
        result = SendResult(decision.level, reason=decision.reason)
        if draft is not None and view.backoff is not None and view.backoff.is_active(self.settings.now()):
            until = f"{view.backoff.not_before:%Y-%m-%d %H:%M} UTC"
            reason = decision.reason or f"The next report is sent after {until}, at most one a day. {view.backoff.reason or ''}"
            result = msgspec.structs.replace(result, reason=reason.strip())
        elif draft is not None:
            result = yield from self._send(decision, view, draft)
            view = self.store.view(self.settings.service)
        if view.deletions:
            deleted, problems = yield from self.deletions(view)
            result = msgspec.structs.replace(result, deleted=deleted, problems=tuple(problems))
        return result

    def prepare(self) -> tuple[Decision, View, Draft | None]:
        """Update this week's draft, and return the next draft to send. Raises StateError."""
        info = environment_info(self.environment, Level.FULL, self.system)
        decision, view = self.store.prepare(self.settings, self.decide, info)
        return decision, view, view.next_draft(self.settings.now(), decision.level)

    def batch(self, decision: Decision, view: View, draft: Draft) -> Generator[Request, bytes | UpdateHookError, PreparedBatch]:
        """Fetch the allow-list and build the request body. Raises UpdateHookError."""
        level = lowest(draft.level, decision.level)
        request = Request("GET", f"{self.settings.level_servers[level]}/api/telemetry/allowed/{level}")
        allowed: AllowList = decode_answer((yield request), AllowList, request.url)
        return self._batch(level, view, draft, allowed)

    def deletions(self, view: View) -> Generator[Request, bytes | UpdateHookError, tuple[int, list[str]]]:
        """Send the pending deletions. Return the number of deleted reports, and the failures."""
        deleted, problems, unreachable = 0, [], set()
        for week, server, name in self.rng.sample(view.deletions, len(view.deletions)):  # no dead server always goes first
            if server in unreachable:
                problems.append(f"{week} at {server}: it could not be reached.")
                continue
            answer = yield Request("POST", f"{server}/api/reports/delete", msgspec.json.encode(IdentifierQuery(name)))
            try:
                found: DeletedReports = decode_answer(answer, DeletedReports, server)
            except UpdateHookError as error:
                problems.append(f"{week} at {server}: {error}")
                if isinstance(error, ServerUnreachableError):
                    unreachable.add(server)
                continue
            deleted += found.deleted
            if not self.store.finish_deletion(name, server, self.settings.now()):
                problems.append(f"{week} at {server}: a report was still being sent. It is deleted with the next check.")
        return deleted, problems

    def _batch(self, level: Level, view: View, draft: Draft, allowed: AllowList) -> PreparedBatch:
        if view.secrets is None:
            raise UpdateHookError("Your consent's secret is missing. To agree again: napari-telemetry consent set LEVEL")
        service, counts = self.settings.service, view.counts.get(draft.week, Counts())
        key = ReportKey(
            draft.week,
            identifier(view.secrets[0], service, draft.week),
            environment_pseudonym(view.secrets[1], draft.week),
            view.revisions.get(draft.week, 0) + 1,
        )
        batch = build_batch(
            level, key, draft.info, allowed, self.listed(), first_report=view.first_week in (None, draft.week),
            commands=counts.commands, layers=counts.layers,
        )  # fmt: skip
        return PreparedBatch(
            service, self.settings.level_servers[level], draft.week, level, key.identifier, key.revision, draft.version,
            draft.consent, msgspec.json.encode(batch),
        )  # fmt: skip

    def _send(self, decision: Decision, view: View, draft: Draft) -> Steps:
        level = lowest(draft.level, decision.level)
        try:
            batch = yield from self.batch(decision, view, draft)
        except RefusedError as error:
            return self._on_refusal(None, decision, view, level, error)
        except UpdateHookError as error:
            self.store.back_off(self.settings.service, self._backoff_after(view, error))
            return SendResult(decision.level, reason=f"Nothing was sent: {error} The report is kept and sent later.")
        number = self.store.begin_sending(batch, self.decide, self.settings.now())
        if number is None:
            return SendResult(decision.level, reason="Nothing was sent: your answer has changed, or another process sent it.")
        answer = yield Request("POST", f"{batch.server}/api/updates/{batch.level}", batch.body)
        try:
            receipt = decode_answer(answer, BatchAnswer, batch.server).receipt
        except RefusedError as error:
            return self._on_refusal(number, decision, view, level, error)
        except UpdateHookError as error:
            self.store.finish_sending(number, None, self._backoff_after(view, error))
            reason = f"{error} The server may or may not have stored the report; it will be sent again later."
            return SendResult(decision.level, reason=reason)
        text = msgspec.json.encode(receipt).decode()
        if receipt.stored:
            now = self.settings.now()
            day = Backoff(now, now + DAY * (1 + JITTER * self.rng.random()))
            self.store.finish_sending(number, text, day, version=batch.version)
        else:
            reason = receipt.reason or "The server did not say why."
            is_outdated = receipt.revision > batch.revision  # the server has a later revision: retry with a higher one
            backoff = self._backoff_after(view, reason)
            self.store.finish_sending(
                number, text, backoff, revision=receipt.revision, rejected=None if is_outdated else reason
            )
        return SendResult(decision.level, receipt, batch.week, decision.reason)

    def _on_refusal(self, number: int | None, decision: Decision, view: View, level: Level, error: RefusedError) -> SendResult:
        """Record a refusal. ``number``: the outbox row, None if the allow-list was refused."""
        now, service = self.settings.now(), self.settings.service
        reason = f"The report was not accepted; it is kept. {error}"
        if error.kind == "schema-retired":
            reason = "The server no longer accepts this version's reports. Update napari-telemetry; the report is kept."
        elif error.status == 404:
            reason = f"{service} does not accept telemetry. The report is kept until its week closes."
        is_off = error.status == 410 and error.is_problem and level is decision.level  # else perhaps from a proxy
        backoff = Backoff(now, now) if is_off else self._backoff_after(view, error)  # no pause: nothing was accepted
        if number is None:
            self.store.back_off(service, backoff)
        else:
            is_rejected = 400 <= error.status < 500 and error.status != 429
            receipt = msgspec.json.encode({"refused": error.status, "reason": str(error)}).decode()
            self.store.finish_sending(number, receipt, backoff, rejected=reason if is_rejected else None)
        if is_off:
            means = f"{SERVER_SWITCHED_OFF} {level}"
            self.store.record(ConsentRecord(now, Level.NONE, SCHEMA_VERSION, service, None, means))
            return SendResult(Level.NONE, reason=f"{error} Telemetry is off from now on.")
        return SendResult(decision.level, reason=reason)

    def _backoff_after(self, view: View, error: UpdateHookError | str) -> Backoff:
        """Double the wait after each failure, up to seven days."""
        now = self.settings.now()
        failures = (view.backoff.failures if view.backoff is not None else 0) + 1
        own = min(FIRST_RETRY * 2 ** min(failures - 1, 20), MAX_BACKOFF) * (1 + JITTER * self.rng.random())
        asked = retry_after_s(error.retry_after, now) if isinstance(error, ServerAnswerError) else None
        wait = max(own, timedelta(seconds=min(asked or 0.0, MAX_BACKOFF.total_seconds())))
        return Backoff(now, now + wait, failures, str(error))


def run(steps: Generator[Request, bytes | UpdateHookError, T], exchange: Callable[[Request], bytes]) -> T:
    """Run a generator of requests to its result. ``exchange`` returns the response body or raises UpdateHookError."""
    answer: bytes | UpdateHookError = b""
    try:
        request = next(steps)
        while True:
            try:
                answer = exchange(request)
            except UpdateHookError as error:
                answer = error
            request = steps.send(answer)
    except StopIteration as ended:
        result: T = ended.value
        return result
