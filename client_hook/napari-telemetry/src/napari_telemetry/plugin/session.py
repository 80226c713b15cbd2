"""One session of napari: one thread and one queue for the state file.

Every method returns at once, except `Session.send`. What waits for a network runs in a thread of its own, has only an immutable
request, and puts its result into the queue. So a "no" is never behind a server: it is the next job, and one transaction.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_update_hook.plugin.session import explained
from napari_update_hook.plugin.worker import Worker

from napari_telemetry.plugin.counting import Collector, counts_by_week

if TYPE_CHECKING:
    from datetime import timedelta

    from napari_telemetry.client import Forgotten, ServerCopy, Status, TelemetryClient

FLUSH_INTERVAL_S = 30.0
"""How often counts are saved; a crash loses no more."""
REQUEST_DEADLINE_S = 9.0
Steps = Generator[Any, Any, Any]


@dataclass(frozen=True)
class Snapshot:
    """What the windows draw.

    ``status``: None until it has been read; ``problem``: why it cannot be. ``busy``: names of jobs under way; ``failures``: why
    the last of a name failed. ``preview``, ``examples`` (by level): formatted JSON.
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
    """Telemetry in this process. ``make_client``: returns a client of the environment as it is now."""

    NAME = "napari-telemetry"
    EXIT_TIMEOUT_S = 2.0  # the end of napari waits for a pending answer and the last counts to be saved
    snapshot: Snapshot

    def __init__(self, make_client: Callable[[], TelemetryClient] | None = None) -> None:
        super().__init__(Snapshot())
        self.collector = Collector()
        self._make_client = make_client or _client_here
        self._busy: Counter[str] = Counter()
        self._failures: dict[str, str] = {}
        self._client: TelemetryClient | None = None
        self._signature: Any = None
        self._next_flush = 0.0

    def refresh(self) -> None:
        """Read everything again, also what is installed."""
        self._jobs.put(partial(self._read, again=True))

    def send(self, deadline_s: float) -> None:
        """Send what is due, and wait for it: the update check calls this on its own thread."""
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
        """Record an answer. ``service``: the one that the person was told of; if it is another by now, nothing is recorded.

        ``lasting``: None means until it is changed.
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
        """Make the examples, then call ``show`` on the session's thread.

        Unless a person ``requested`` it, it is remembered as a prompt, and not shown if another process has just shown it.
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

    def show_preview(self) -> None:
        """Make what the next check sends; the public lists are fetched for it."""

        def finish(prepared: Any) -> dict[str, Any]:
            from napari_telemetry.words import pretty_json

            return {"preview": pretty_json(prepared.body) if prepared is not None else None}

        def steps(client: TelemetryClient) -> Steps:
            self._flush()
            return client.preview_steps()

        self._request("preview", steps, finish)

    def ask_servers(self) -> None:
        """Ask the servers what they hold of this account."""
        self._request("server copy", lambda client: client.server_copies(), lambda copies: {"copies": copies})

    def remove_package(self, then: Callable[[str], object]) -> None:
        """Uninstall napari-telemetry in a thread of its own, and call ``then`` with what became of it."""
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
        """Delete everything that servers hold, and its copies here."""
        self._request(
            "forget", lambda client: client.forget(), lambda done: {"forgotten": done, "copies": None, "preview": None}
        )

    # Jobs

    def _save(self, name: str, work: Callable[[TelemetryClient], dict[str, Any]]) -> None:
        """Queue a job that writes to the state file."""
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
        """Queue steps that yield requests: each is made in a thread of its own, and its result goes on in the queue."""
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
                    raise RuntimeError("napari is closing")  # nothing new leaves
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
        with self._publishing:
            self._busy[name] += 1
            self._failures.pop(name, None)
        self._publish()

    def _finish(self, name: str, changes: dict[str, Any] | None = None, failure: Exception | None = None) -> None:
        with self._publishing:
            self._busy[name] -= 1
            if failure is not None:
                self._failures[name] = explained(failure)
        self._read(**(changes or {}))

    # The session's thread

    def _run(self) -> None:
        super()._run()
        self._flush()

    def _when_idle(self) -> None:
        if time.monotonic() >= self._next_flush:
            self._next_flush = time.monotonic() + FLUSH_INTERVAL_S
            self._flush()

    def _has_changed(self) -> bool:
        """Whether the state file, or what update checks left, has changed since the last call."""
        if (client := self._client) is None:
            return False
        before, self._signature = self._signature, client.hook_state.signature()
        return client.store.has_changed() or before != self._signature

    def _more_changes(self) -> dict[str, Any]:
        return {"busy": frozenset(+self._busy), "failures": dict(self._failures)}

    def _current(self, *, again: bool = False) -> TelemetryClient:
        if self._client is None or again:
            self._client = self._make_client()
        return self._client

    def _read(self, *, again: bool = False, **changes: Any) -> None:
        """Publish the state as it is now, and count exactly while level full is in effect."""
        try:
            client = self._current(again=again)
            self._has_changed()  # before it is read: what changes meanwhile is read again
            status = client.status()
            consent = status.view.consent
            self.collector.now = client.settings.now
            self.collector.count_under(
                consent.number if consent is not None and status.decision.level.value == "full" else None
            )
            self._publish(status=status, problem=None, **changes)
        except Exception as error:
            self.collector.count_under(None)
            self._publish(status=None, problem=explained(error), **changes)

    def _flush(self) -> None:
        """Save what was counted; it is kept in memory if the file cannot be written now."""
        from napari_update_hook.errors import StateError

        consent, events = self.collector.consent, self.collector.take()
        if not events or consent is None or self._client is None:
            return
        try:
            self._client.add_counts(consent, counts_by_week(events))
        except StateError:
            self.collector.put_back(events)


def _client_here() -> TelemetryClient:
    from napari_telemetry.client import client_here

    return client_here()
