"""The telemetry client of one Python environment."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Generator, Mapping
from datetime import timedelta
from pathlib import Path

import msgspec
from msgspec import Struct
from napari_update_hook import environment as hook
from napari_update_hook.errors import SettingsError, StateError, UpdateHookError
from napari_update_hook.index import listed_versions, takes_reports
from napari_update_hook.settings import is_folder
from napari_update_hook.state import State, environment_id

from napari_telemetry.consent_rules import (
    MAX_PROMPTS,
    PROMPT_INTERVAL,
    ConsentRecord,
    Decision,
    Prompt,
    has_ended,
    pending_prompt,
    prompt_due,
)
from napari_telemetry.environment import environment_info, environment_pseudonym, identifier, new_secret
from napari_telemetry.preferences import maximum_level
from napari_telemetry.records import Counts, PreparedBatch, SentBatch, View
from napari_telemetry.report import ReportKey, build_batch, estimate_allow_list
from napari_telemetry.sending import Sender, SendResult, Steps, run
from napari_telemetry.settings import TelemetrySettings, settings_from
from napari_telemetry.store import Store
from napari_telemetry.transport import Request, Transport, decode_answer
from napari_telemetry.weeks import week_of
from napari_telemetry.wire import SCHEMA_VERSION, FoundReports, IdentifierQuery, Level, StoredReport

DEADLINE_S = 4.5
"""Network time limit of a send: half that of an update check."""


class ServerCopy(Struct, frozen=True):
    """Reports that a server stores under one identifier.

    ``asked``: the sent report with that identifier. ``problem``: why the request failed.
    """

    """Reports that a server stores under one identifier.

    ``asked``: the sent report with that identifier. ``problem``: why the request failed.
    """

    asked: SentBatch
    reports: list[StoredReport] = []
    problem: str | None = None


class Forgotten(Struct, frozen=True):
    """The outcome of a deletion.

    ``on_servers``: number of reports deleted there. ``requests``, ``drafts``: number of local copies deleted. ``weeks``:
    blocked (service, week) pairs. ``problems``: failed deletions.
    """

    on_servers: int
    requests: int
    drafts: int
    weeks: list[tuple[str, str]]
    problems: list[str]


class Status(Struct, frozen=True):
    """The effective level and the reason for it, pending reports, and problems with advice.

    ``prompt``: the pending prompt; ``is_prompt_due``: whether to show it unrequested. ``identifier``, ``environment``: this
    week's pseudonyms, None without consent.
    """

    settings: TelemetrySettings
    decision: Decision
    view: View
    prompt: Prompt | None
    is_prompt_due: bool
    takes_reports: bool | None
    problem: str | None
    week: str
    identifier: str | None
    environment: str | None


class TelemetryClient:
    """Records consent, and sends, shows and deletes reports.

    Keeps the seam file consistent with the consent: see `napari_update_hook.seam`.
    """

    def __init__(
        self,
        settings: TelemetrySettings,
        store: Store,
        environment: hook.Environment,
        deadline: float = DEADLINE_S,
        system: tuple[str, str, str] | None = None,
    ) -> None:
        self.settings = settings
        self.store = store
        self.environment = environment
        self.system = system
        self.deadline = deadline
        self.hook_state = State(settings.state, store.environment)
        self.sender = Sender(settings, store, environment, self._listed, self._is_installed, self.takes_reports, system)

    def status(self, *, check_health: bool = False) -> Status:
        """Return the status. Never writes or raises. ``check_health``: check every page of the state file."""
        view, problem, service, now = View(), None, self.settings.service, self.settings.now()
        try:
            view = self.store.view(service)
            if check_health:
                self.store.check_health()
        except StateError as error:
            problem = str(error)
        decision = Decision(Level.NONE, f"Telemetry is off: {problem}") if problem else self.sender.decide(view.consent)
        takes = self.takes_reports()
        prompt = pending_prompt(view.consent, self.settings, now, is_installed=self._is_installed())
        secrets, week = view.secrets, week_of(now)
        return Status(
            self.settings,
            decision,
            view,
            prompt if problem is None else None,
            prompt is not None and problem is None and takes is True and prompt_due(view.prompts, view.consent, now),
            takes,
            problem,
            week,
            identifier(secrets[0], service, week) if secrets else None,
            environment_pseudonym(secrets[1], week) if secrets else None,
        )

    def takes_reports(self) -> bool | None:
        """Whether the server accepts reports; None before the first update check."""
        known = takes_reports(self.hook_state.read_check().answers, self.settings.server)
        return False if known is None and all(map(is_folder, self.settings.level_servers.values())) else known

    def set_consent(self, level: Level, *, lasting: timedelta | None = None, means: str) -> ConsentRecord:
        """Record an answer. Sends nothing. Raises StateError, or SettingsError if the server accepts no reports.

        ``lasting``: how long the consent lasts, None until changed. ``means``: how the answer was given.
        """
        if level is not Level.NONE and self.takes_reports() is False:
            raise SettingsError(f"{self.settings.server} accepts no reports, so there is nothing to agree to.")
        now = self.settings.now()
        until = now + lasting if lasting is not None else None
        record = ConsentRecord(now, level, SCHEMA_VERSION, self.settings.service, until, means)
        record = self.store.record(record, may_extend=self._is_installed())
        if level is Level.NONE:
            self._update_seam()
        else:
            self.hook_state.write_telemetry({"state": "on"})
            self._update_seam()
            if not self._is_installed():
                raise StateError(f"{self.hook_state.folder} cannot be written, so nothing is sent. Make it writable.")
        return record

    def claim_prompt(self) -> bool:
        """Record that the prompt is shown, and return True in only one of several processes. Raises StateError.

        Saves in the seam file when to ask again.
        """
        now, status = self.settings.now(), self.status()
        if not status.is_prompt_due or not self.store.claim_prompt(now):
            return False
        consent = status.view.consent
        asked = sum(consent is None or at > consent.at for at in status.view.prompts) + 1
        said = self.hook_state.read_telemetry()
        if said.get("state") != "on":  # keep a consent given for another server or an older schema
            again = {"state": "ask", "after": (now + PROMPT_INTERVAL).isoformat()} if asked < MAX_PROMPTS else {}
            self.hook_state.write_telemetry(again or None)
            self._update_seam()
        return True

    def add_counts(self, consent: int, counted: Mapping[str, Counts]) -> None:
        """Save counts by week. Raises StateError."""
        self.store.add(consent, environment_info(self.environment, Level.FULL, self.system), counted)

    def send_steps(self) -> Steps:
        result = yield from self.sender.steps()
        if result.level is Level.NONE or result.deleted is not None:
            self._update_seam()
        return result

    def send(self) -> SendResult:
        """Send the due report and pending deletions. Never raises."""
        try:
            with Transport(self.deadline) as transport:
                return run(self.send_steps(), transport.exchange)
        except UpdateHookError as error:
            return SendResult(self.status().decision.level, reason=f"Nothing was sent: {error}")

    def preview_steps(self) -> Generator[Request, bytes | UpdateHookError, PreparedBatch | None]:
        """Build the next report without sending it. Raises UpdateHookError."""
        if not self.store.exists:
            return None
        decision, view, draft = self.sender.prepare()
        return (yield from self.sender.batch(decision, view, draft)) if draft is not None else None

    def example(self, level: Level) -> bytes:
        """Return a sample report. Uses a throwaway secret and the public table: real ones require consent."""
        week, secret = week_of(self.settings.now()), new_secret()
        key = ReportKey(week, identifier(secret, self.settings.service, week), environment_pseudonym(secret, week), 1)
        info, versions = environment_info(self.environment, level, self.system), self._versions()
        allowed, first_week = estimate_allow_list(info, versions), self.store.view(self.settings.service).first_week
        is_first = first_week in (None, week)
        return msgspec.json.encode(build_batch(level, key, info, allowed, frozenset(versions), first_report=is_first))

    def server_copies(self) -> Generator[Request, bytes | UpdateHookError, list[ServerCopy]]:
        """Fetch the stored reports of the account, one identifier per request."""
        copies = []
        for sent in self.store.view(self.settings.service).identifiers:
            body = msgspec.json.encode(IdentifierQuery(sent.identifier))
            try:
                answer = yield Request("POST", f"{sent.server}/api/reports/find", body)
                found: FoundReports = decode_answer(answer, FoundReports, sent.server)
                copies.append(ServerCopy(sent, found.reports))
            except UpdateHookError as error:
                copies.append(ServerCopy(sent, problem=str(error)))
        return copies

    def forget(self) -> Generator[Request, bytes | UpdateHookError, Forgotten]:
        """Block the weeks of all reports, then delete the reports here and on servers. Raises StateError.

        Each update check retries failed deletions.
        """
        weeks, requests, drafts = self.store.forget(self.settings.service, week_of(self.settings.now()))
        self._update_seam()
        deleted, problems = yield from self.sender.deletions(self.store.view(self.settings.service))
        self.store.compact()
        self._update_seam()
        return Forgotten(deleted, requests, drafts, weeks, problems)

    def _versions(self) -> dict[str, tuple[str, ...]]:
        return listed_versions(self.hook_state.read_check().answers)

    def _listed(self) -> frozenset[str]:
        return frozenset(self._versions())

    def _is_installed(self) -> bool:
        return self.hook_state.read_telemetry().get("state") == "on"

    def _update_seam(self) -> None:
        """Update the seam file after a change of consent. Only `set_consent` writes ``on``."""
        try:
            view = self.store.view(self.settings.service)
        except StateError:
            return
        said = {name: value for name, value in self.hook_state.read_telemetry().items() if name != "deleting"}
        if said.get("state") not in ("on", "ask") or (view.consent is not None and view.consent.level is Level.NONE):
            said = {}
        elif said.get("state") == "on" and has_ended(view.consent, now := self.settings.now()):  # expired or lost
            said = {"state": "ask", "after": now.isoformat()} if view.consent is not None else {}
        self.hook_state.write_telemetry({**said, "deleting": True} if view.deletions else said or None)


@functools.cache
def shared_store(folder: Path | None, environment: str) -> Store:
    """Return the cached store, so that a process has only one connection."""
    return Store(folder, environment)


def current_client(server: str | None = None) -> TelemetryClient:
    """Return the client of this Python environment. ``server`` overrides the settings. Raises SettingsError."""
    settings = settings_from(os.environ, server, preferences=maximum_level)
    store = shared_store(settings.state, environment_id(Path(sys.prefix)))
    return TelemetryClient(settings, store, hook.read_environment())


def send_if_due(deadline_s: float) -> None:
    """Send the due report, through napari's session if one is running. Never raises."""
    """Send the due report, through napari's session if one is running. Never raises."""
    with contextlib.suppress(Exception):
        instance = sys.modules.get("napari_telemetry.plugin.instance")
        session = instance.running_session() if instance is not None else None
        if session is not None:  # its queue keeps answers and reports in order
            session.send(deadline_s)
        else:
            client = current_client()
            client.deadline = deadline_s
            client.send()
