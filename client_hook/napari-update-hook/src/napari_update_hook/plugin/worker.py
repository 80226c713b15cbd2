"""A daemon thread with one queue, and the immutable snapshot that it publishes. The base of both packages' sessions.

Every method returns at once, and jobs run in order. Listeners are called in that thread; windows pass on by a queued signal.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

POLL_INTERVAL_S = 1.0
"""How often to look whether another process changed the state."""
READ_INTERVAL_S = 60.0
"""How often to read everything again: consent and snoozes end without a change of a file."""


class Worker:
    """``snapshot``: the first one, a dataclass; see `_publish`."""

    NAME = ""
    """Of the thread."""
    EXIT_TIMEOUT_S = 0.0
    """How long `stop` waits for the jobs that are queued."""

    def __init__(self, snapshot: Any) -> None:
        self.snapshot = snapshot
        self._jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._listeners: list[Callable[[Any], object]] = []
        self._publishing = threading.RLock()  # a window that draws may publish
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._thread is not None and not self._stopped.is_set()

    def start(self) -> None:
        """Read the state now, and whenever it changes. May be called again."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self.NAME, daemon=True)
            self._thread.start()
            atexit.register(self.stop)

    def stop(self) -> None:
        """Stop. What a person wanted before is still saved.

        No callback is called any more when this returns: one that emits a signal of Qt would crash after the end of Qt.
        """
        with self._publishing:
            self._stopped.set()
            self._listeners.clear()
        atexit.unregister(self.stop)
        self._jobs.put(lambda: None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self.EXIT_TIMEOUT_S)

    def subscribe(self, listener: Callable[[Any], object]) -> None:
        """Call ``listener`` with every snapshot from now on, on the worker's thread."""
        self._listeners.append(listener)

    def _read(self, *, again: bool = False) -> None:
        """Publish the state as it is now. ``again``: also what is installed."""
        raise NotImplementedError

    def _has_changed(self) -> bool:
        """Whether something changed the state since it was read."""
        raise NotImplementedError

    def _more_changes(self) -> dict[str, Any]:
        """Return fields that go with every snapshot. Called while no other thread publishes."""
        return {}

    def _when_idle(self) -> None:
        """Called between jobs, once in `POLL_INTERVAL_S`."""

    def _run(self) -> None:
        self._read()
        next_read = time.monotonic() + READ_INTERVAL_S
        while not self._stopped.is_set() or not self._jobs.empty():
            with contextlib.suppress(Exception):  # one job that fails must not end the others
                try:
                    self._jobs.get(timeout=POLL_INTERVAL_S)()
                    continue
                except queue.Empty:
                    pass
                self._when_idle()
                if time.monotonic() >= next_read:
                    next_read = time.monotonic() + READ_INTERVAL_S
                    self._read(again=True)
                elif self._has_changed():
                    self._read()

    def _publish(self, **changes: Any) -> None:
        """Replace fields of the snapshot. Thread-safe: what a person begins is published on the GUI thread."""
        with self._publishing:
            before, self.snapshot = self.snapshot, replace(self.snapshot, **changes, **self._more_changes())
            for listener in list(self._listeners) if self.snapshot != before else ():
                self.call(listener, self.snapshot)

    def call(self, callback: Callable[..., object], *arguments: Any) -> bool:
        """Call what others gave, unless the worker was stopped; return whether it was called."""
        with self._publishing:
            is_called = not self._stopped.is_set()
            with contextlib.suppress(Exception):  # a window that is about to close
                if is_called:
                    callback(*arguments)
        return is_called
