"""Telemetry in a running napari process: one thread and one queue for the state file.

Methods return at once, except `Session.send`. Requests run in other threads, so a refusal never waits for a server.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_update_hook.plugin.session import error_message
from napari_update_hook.plugin.worker import Worker

from napari_telemetry.plugin.counting import Collector, counts_by_week

if TYPE_CHECKING:
    from datetime import timedelta

    from napari_telemetry.client import Forgotten, ServerCopy, Status, TelemetryClient

FLUSH_INTERVAL_S = 30.0
"""Seconds between saves of counts; a crash loses at most the counts since the last save."""
REQUEST_DEADLINE_S = 9.0
Steps = Generator[Any, Any, Any]


@dataclass(frozen=True)
class Snapshot:
    """The state that the GUI shows.

    ``status``: None until read; ``problem``: why it cannot be read. ``busy``: running jobs; ``failures``: the last by job.
    ``preview``, ``examples`` (by level): formatted JSON.
    """

    status: Status | None = None
    problem: str | None = None
    busy: frozenset[str] = frozenset()
    failures: dict[str, str] = field(default_factory=dict)
    preview: str | None = None
    examples: dict[str, str] = field(default_factory=dict)
    copies: list[ServerCopy] | None = None
    forgotten: Forgotten | None = None


class Session(Worker):
    """Runs jobs on its own thread, and publishes a `Snapshot` after each."""

    """Runs jobs on its own thread, and publishes a `Snapshot` after each."""

    NAME = "napari-telemetry"
    EXIT_TIMEOUT_S = 2.0  # time to save a pending answer and the last counts
    snapshot: Snapshot

    def __init__(self, make_client: Callable[[], TelemetryClient] | None = None) -> None:
        super().__init__(Snapshot())
        self.collector = Collector()
        self._make_client = make_client or _current_client
        self._busy: Counter[str] = Counter()
        self._failures: dict[str, str] = {}
        self._client: TelemetryClient | None = None
        self._signature: Any = None
        self._next_flush = 0.0

    def refresh(self) -> None:
        self._jobs.put(partial(self._read, again=True))

    def send(self, deadline_s: float) -> None:
        """Send the due report, and block until done. The update check calls this on its own thread."""
        done = threading.Event()

        def steps(client: TelemetryClient) -> Steps:
            client.deadline = deadline_s
            self._flush()
            return client.send_steps()

        self._request("send", steps, lambda _: {}, deadline_s, finally_=done.set)
        done.wait(deadline_s + self.EXIT_TIMEOUT_S)

    def answer(
        self,
        level: str,
        *,
        means: str,
        service: str,
        lasting: timedelta | None = None,
    ) -> None:
        """Record an answer, unless reports no longer go to ``service``, which the user saw.

        ``lasting``: how long it lasts, None until changed.
        """

        def record(client: TelemetryClient) -> dict[str, Any]:
            from napari_update_hook.errors import SettingsError

            from napari_telemetry.wire import Level

            if service != client.settings.service:
                raise SettingsError(
                    f"Nothing was recorded: reports would go to {client.settings.service} now, not to {service}. Answer again."
                )
            client.set_consent(Level(level), lasting=lasting, means=means)
            return {"preview": None}

        self._save("answer", record)

    def prepare_dialog(self, show: Callable[[], object], *, requested: bool) -> None:
        """Build the examples, then call ``show`` on the session's thread.

        If the user has not ``requested`` the dialog, do nothing unless a prompt is due.
        """

        def prepare(client: TelemetryClient) -> dict[str, Any]:
            from napari_telemetry.wire import TELEMETRY_LEVELS
            from napari_telemetry.words import pretty_json

            if self._stopped.is_set() or not (requested or client.claim_prompt()):
                return {}
            examples = {level.value: pretty_json(client.example(level)) for level in TELEMETRY_LEVELS}
            self._publish(examples=examples)
            self.call(show)
            return {}

        self._save("question", prepare)

    def fetch_preview(self) -> None:
        """Build the next report; this fetches the allow-list."""

        def finish(prepared: Any) -> dict[str, Any]:
            from napari_telemetry.words import pretty_json

            return {"preview": pretty_json(prepared.body) if prepared is not None else None}

        def steps(client: TelemetryClient) -> Steps:
            self._flush()
            return client.preview_steps()

        self._request("preview", steps, finish)

    def ask_servers(self) -> None:
        self._request("server copy", lambda client: client.server_copies(), lambda copies: {"copies": copies})

    def remove_package(self, then: Callable[[str], object]) -> None:
        """Uninstall this package, and call ``then`` with the outcome."""
        self._begin("removal")

        def remove() -> None:
            from napari_update_hook import offer
            from napari_update_hook.environment import read_environment
            from napari_update_hook.installers import detect_install

            try:
                how = offer.how_to_uninstall(detect_install(), read_environment())
                if how.reason is None:
                    offer.run(how)
                self.call(then, how.reason or "napari-telemetry was removed.")
            except Exception as error:
                self._jobs.put(partial(self._finish, "removal", failure=error))
            else:
                self._jobs.put(partial(self._finish, "removal"))

        threading.Thread(target=remove, name="napari-telemetry-removal", daemon=True).start()

    def forget(self) -> None:
        self._request(
            "forget", lambda client: client.forget(), lambda done: {"forgotten": done, "copies": None, "preview": None}
        )

    # Jobs

    def _save(self, name: str, work: Callable[[TelemetryClient], dict[str, Any]]) -> None:
        self._begin(name)

        def run() -> None:
            try:
                self._finish(name, work(self._current()))
            except Exception as error:
                self._finish(name, failure=error)

        self._jobs.put(run)

    def _request(
        self,
        name: str,
        steps_of: Callable[[TelemetryClient], Steps],
        changes_of: Callable[[Any], dict[str, Any]],
        deadline_s: float = REQUEST_DEADLINE_S,
        finally_: Callable[[], None] = lambda: None,
    ) -> None:
        """Run a generator of requests on the session's thread, and each request in its own thread."""
        self._begin(name)

        def begin() -> None:
            from napari_telemetry.transport import Transport

            try:
                steps = steps_of(self._current(again=name == "send"))
                advance(Transport(deadline_s), steps, None)
            except Exception as error:
                self._finish(name, failure=error)
                finally_()

        def advance(transport: Any, steps: Steps, answer: Any) -> None:
            try:
                if self._stopped.is_set() and answer is None:
                    raise RuntimeError("napari is closing")  # start no new request
                request = steps.send(answer)
            except StopIteration as ended:
                self._finish(name, changes_of(ended.value))
            except Exception as error:
                self._finish(name, failure=error)
            else:
                threading.Thread(
                    target=exchange, args=(transport, steps, request), name="napari-telemetry-network", daemon=True
                ).start()
                return
            transport.__exit__()
            finally_()

        def exchange(transport: Any, steps: Steps, request: Any) -> None:
            try:
                answer = transport.exchange(request)
            except Exception as error:
                answer = error
            self._jobs.put(partial(advance, transport, steps, answer))

        self._jobs.put(begin)

    def _begin(self, name: str) -> None:
        with self._publish_lock:
            self._busy[name] += 1
            self._failures.pop(name, None)
        self._publish()

    def _finish(self, name: str, changes: dict[str, Any] | None = None, failure: Exception | None = None) -> None:
        with self._publish_lock:
            self._busy[name] -= 1
            if failure is not None:
                self._failures[name] = error_message(failure)
        self._read(**(changes or {}))

    # The session's thread

    def _run(self) -> None:
        super()._run()
        self._flush()

    def _on_idle(self) -> None:
        if time.monotonic() >= self._next_flush:
            self._next_flush = time.monotonic() + FLUSH_INTERVAL_S
            self._flush()

    def _has_changed(self) -> bool:
        if (client := self._client) is None:
            return False
        before, self._signature = self._signature, client.hook_state.signature()
        return client.store.has_changed() or before != self._signature

    def _extra_fields(self) -> dict[str, Any]:
        return {"busy": frozenset(+self._busy), "failures": dict(self._failures)}

    def _current(self, *, again: bool = False) -> TelemetryClient:
        if self._client is None or again:
            self._client = self._make_client()
        return self._client

    def _read(self, *, again: bool = False, **changes: Any) -> None:
        try:
            client = self._current(again=again)
            self._has_changed()  # before reading, so that changes during the read are noticed
            status = client.status()
            consent = status.view.consent
            self.collector.now = client.settings.now
            self.collector.count_under(
                consent.number if consent is not None and status.decision.level.value == "full" else None
            )
            self._publish(status=status, problem=None, **changes)
        except Exception as error:
            self.collector.count_under(None)
            self._publish(status=None, problem=error_message(error), **changes)

    def _flush(self) -> None:
        """Save the counts; keep them in memory if the file cannot be written."""
        from napari_update_hook.errors import StateError

        consent, events = self.collector.consent, self.collector.pop_all()
        if not events or consent is None or self._client is None:
            return
        try:
            self._client.add_counts(consent, counts_by_week(events))
        except StateError:
            self.collector.restore(events)


def _current_client() -> TelemetryClient:
    from napari_telemetry.client import current_client

    return current_client()
