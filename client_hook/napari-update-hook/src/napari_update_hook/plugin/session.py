"""One session of napari: checks and reads in a daemon thread, and publishes what came of it.

Every method returns at once. There is one thread and one queue, so jobs run in order; the GUI draws `Session.snapshot`, which
is immutable. Listeners are called in that thread; the GUI passes on by a queued signal.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import timedelta

    from napari_update_hook.client import CheckResult, UpdateClient
    from napari_update_hook.updates import UpdateRow

POLL_INTERVAL_S = 1.0
"""How often to look whether another process changed the state."""
READ_INTERVAL_S = 60.0
"""How often to read everything again: packages come and go while napari runs."""
FIRST_CHECK_AFTER_S = 5.0
CHECK_INTERVAL_S = 3600.0
"""How often to test whether a check is due; the server's interval and the back-off decide."""


@dataclass(frozen=True)
class Snapshot:
    """What the windows draw.

    ``result``: of the last check, None before the first; ``problem``: why there is none, such as a check that is switched off.
    ``failure``: why the last thing that a person wanted failed.
    """

    result: CheckResult | None = None
    problem: str | None = None
    failure: str | None = None
    is_checking: bool = False
    notifies: bool = True
    offers_telemetry: bool = False
    """Whether to show the message about usage reports: see `offer`."""
    installing: str = ""
    """What the installation of the package for them does or why it failed; empty before it."""


Listener = Callable[[Snapshot], object]


class Session:
    """The update check of this process. ``make_client``: returns a client of the environment as it is now."""

    def __init__(self, make_client: Callable[[], UpdateClient] | None = None, first_check_after: float | None = None) -> None:
        self.snapshot = Snapshot()
        self._make_client = make_client or _client_here
        self._first_check_after = FIRST_CHECK_AFTER_S if first_check_after is None else first_check_after
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._listeners: list[Listener] = []
        self._on_updates: list[Callable[[list[UpdateRow]], object]] = []
        self._stopped = threading.Event()
        self._publishing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._signature: Any = None
        self._has_offered = False

    def start(self) -> None:
        """Read the last answer, and check for updates soon and from time to time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="napari-update-hook", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop checking and notifying. What a person wanted before is still saved."""
        self._stopped.set()
        self._listeners.clear()
        self._on_updates.clear()
        self._jobs.put(lambda: None)

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` with every snapshot from now on, on the session's thread."""
        self._listeners.append(listener)

    def on_updates(self, callback: Callable[[list[UpdateRow]], object]) -> None:
        """Register a callback for new updates. It gets their rows, on the session's thread."""
        self._on_updates.append(callback)

    def check(self) -> None:
        """Ask for updates because a person wants to know."""
        self._publish(is_checking=True, failure=None)
        self._jobs.put(lambda: self._check(only_if_due=False))

    def refresh(self) -> None:
        """Read the state and what is installed again."""
        self._jobs.put(self._read)

    def snooze(self, name: str, version: str, lasting: timedelta | None) -> None:
        """Leave an update out: for a time, or forever where that is None."""

        def save(client: UpdateClient) -> None:
            from packaging.utils import canonicalize_name

            from napari_update_hook.state import Snooze

            until = client.settings.now() + lasting if lasting is not None else None
            client.state.snooze(Snooze(canonicalize_name(name), version, until))

        self._save(save)

    def unsnooze(self, name: str) -> None:
        """Offer a package's updates again."""

        def save(client: UpdateClient) -> None:
            from packaging.utils import canonicalize_name

            client.state.unsnooze(canonicalize_name(name))

        self._save(save)

    def want_notifications(self, wanted: bool) -> None:
        """Remember whether a person wants notifications."""
        self._save(lambda client: client.state.want_notifications(wanted))

    def take_offer(self) -> bool:
        """Remember that the message about usage reports is shown, so that it is shown once; False if it was already."""
        is_first, self._has_offered = not self._has_offered, True  # also if that cannot be saved
        if is_first:
            self.decline_telemetry()
        return is_first

    def decline_telemetry(self) -> None:
        """Remember that the message about usage reports is not to be shown again."""
        self._save(lambda client: client.state.note_offer())

    def install_telemetry(self, then: Callable[[], object]) -> None:
        """Install the package for usage reports, and call ``then`` on the session's thread."""
        self._publish(installing="Installing…")

        def run() -> None:
            from napari_update_hook import offer

            try:
                client = self._make_client()
                how = offer.how_to_install(client.install, client.environment)
                if how.reason is not None:
                    self._publish(installing=how.reason)
                    return
                self._publish(installing=f"Installing: {how.commands[0]}")
                offer.run(how)
                self._publish(installing="Installed.")
                then()
            except Exception as error:
                self._publish(installing=explained(error))

        self._jobs.put(run)

    def attach_telemetry(self, viewer: Any) -> None:
        """Let napari-telemetry, if a person chose to install and allow it, show its state in a viewer. See `seam`."""
        from napari_update_hook import seam

        with contextlib.suppress(Exception):  # settings that cannot be used
            state, now = _state_here()
            seam.attach(state, now, viewer)

    def _offers(self, client: UpdateClient) -> bool:
        from napari_update_hook.offer import should_offer

        return not self._has_offered and should_offer(client)

    def _save(self, work: Callable[[UpdateClient], None]) -> None:
        def run() -> None:
            failure = None
            try:
                work(self._make_client())
            except Exception as error:
                failure = explained(error)
            self._publish(failure=failure)
            self._read()

        self._jobs.put(run)

    def _run(self) -> None:
        """Run jobs in order; between them, look for changes of other processes and for a check that is due."""
        self._read()
        next_read, next_check = time.monotonic() + READ_INTERVAL_S, time.monotonic() + self._first_check_after
        while not self._stopped.is_set() or not self._jobs.empty():
            with contextlib.suppress(Exception):  # one job that fails must not end the others
                try:
                    self._jobs.get(timeout=max(0.01, min(POLL_INTERVAL_S, next_check - time.monotonic())))()
                except queue.Empty:
                    now = time.monotonic()
                    if now >= next_check:
                        next_check = now + CHECK_INTERVAL_S
                        self._check(only_if_due=True)
                    elif now >= next_read or _state_here()[0].signature() != self._signature:
                        next_read = now + READ_INTERVAL_S
                        self._read()

    def _read(self) -> None:
        try:
            client = self._make_client()
            self._signature = client.state.signature()
            problem = f"The update check is off: {client.settings.disabled_by}." if client.settings.disabled_by else None
            result = None if problem else client.known(keep_napari=True)
            before = self.snapshot.result
            if result is not None and before is not None and result.fetched_at == before.fetched_at:
                result = replace(result, notice=before.notice, is_from_cache=before.is_from_cache)  # why the answer is old
            result = result or (None if problem else before)
            notifies, offers = client.state.wants_notifications(), self._offers(client)
            self._publish(result=result, problem=problem, notifies=notifies, offers_telemetry=offers)
        except Exception as error:
            self._publish(problem=explained(error))

    def _check(self, *, only_if_due: bool) -> None:
        if self._stopped.is_set():
            return
        self._publish(is_checking=True, failure=None)
        try:
            client = self._make_client()
            if only_if_due and client.settings.disabled_by:
                return
            result = client.check(only_if_due=only_if_due, keep_napari=True)
            self._publish(result=result, problem=None, offers_telemetry=self._offers(client))
            self._signature = client.state.signature()
            if self._on_updates and not result.is_from_cache and (updates := client.claim_notification(result.rows)):
                for callback in list(self._on_updates):
                    with contextlib.suppress(Exception):  # a window that is about to close
                        callback(updates)
        except Exception as error:
            if not only_if_due or self.snapshot.result is None:
                self._publish(failure=explained(error))
        finally:
            self._publish(is_checking=False)

    def _publish(self, **changes: Any) -> None:
        with self._publishing:  # `check` publishes on the GUI thread
            before, self.snapshot = self.snapshot, replace(self.snapshot, **changes)
        for listener in list(self._listeners) if self.snapshot != before and not self._stopped.is_set() else ():
            with contextlib.suppress(Exception):  # a window that is about to close
                listener(self.snapshot)


def _client_here() -> UpdateClient:
    from napari_update_hook.client import client_here

    return client_here()


def _state_here() -> Any:
    """The state of this environment, and the time, without loading the client."""
    import sys
    from pathlib import Path

    from napari_update_hook.settings import settings_here
    from napari_update_hook.state import State, environment_id

    settings = settings_here()
    return State(settings.state, environment_id(Path(sys.prefix))), settings.now()


def explained(error: Exception) -> str:
    """Return what a person should read about an error."""
    from napari_update_hook.errors import UpdateHookError

    if isinstance(error, UpdateHookError):
        return str(error)
    return f"Something unforeseen went wrong ({type(error).__name__}: {error}). Please report this."
