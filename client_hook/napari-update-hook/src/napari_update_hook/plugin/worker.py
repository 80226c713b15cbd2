"""A daemon thread with a job queue and an immutable snapshot; the base class of the sessions in both packages.

Methods return immediately. The thread runs the jobs in order and calls the listeners.
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
REREAD_INTERVAL_S = 60.0
"""Seconds between rereads of the state: consent and snoozes expire without a file change."""


class Worker:
    NAME = ""
    EXIT_TIMEOUT_S = 0.0
    """Seconds that `stop` waits for queued jobs."""

    def __init__(self, snapshot: Any) -> None:
        self.snapshot = snapshot
        self._jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._listeners: list[Callable[[Any], object]] = []
        self._publish_lock = threading.RLock()  # a listener may publish
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        return self._thread is not None and not self._stopped.is_set()

    def start(self) -> None:
        """Start the thread, which runs jobs and watches the state. Idempotent."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self.NAME, daemon=True)
            self._thread.start()
            atexit.register(self.stop)

    def stop(self) -> None:
        """Stop the thread after the queued jobs.

        No callback runs after this returns: emitting a signal after Qt has shut down would crash.
        """
        with self._publish_lock:
            self._stopped.set()
            self._listeners.clear()
        atexit.unregister(self.stop)
        self._jobs.put(lambda: None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self.EXIT_TIMEOUT_S)

    def subscribe(self, listener: Callable[[Any], object]) -> None:
        """Call ``listener`` with each new snapshot, on the worker's thread."""
        self._listeners.append(listener)

    def _read(self, *, again: bool = False) -> None:
        """Read the state and publish a snapshot. ``again``: also reread the installed packages."""
        raise NotImplementedError

    def _has_changed(self) -> bool:
        raise NotImplementedError

    def _extra_fields(self) -> dict[str, Any]:
        """Return fields to add to every snapshot. Called with the publish lock held."""
        return {}

    def _on_idle(self) -> None:
        """Do periodic work; called about every `POLL_INTERVAL_S` while the queue is empty."""

    def _run(self) -> None:
        self._read()
        next_read = time.monotonic() + REREAD_INTERVAL_S
        while not self._stopped.is_set() or not self._jobs.empty():
            with contextlib.suppress(Exception):  # a failed job must not end the thread
                try:
                    self._jobs.get(timeout=POLL_INTERVAL_S)()
                    continue
                except queue.Empty:
                    pass
                self._on_idle()
                if time.monotonic() >= next_read:
                    next_read = time.monotonic() + REREAD_INTERVAL_S
                    self._read(again=True)
                elif self._has_changed():
                    self._read()

    def _publish(self, **changes: Any) -> None:
        with self._publish_lock:
            before, self.snapshot = self.snapshot, replace(self.snapshot, **changes, **self._extra_fields())
            for listener in list(self._listeners) if self.snapshot != before else ():
                self.call(listener, self.snapshot)

    def call(self, callback: Callable[..., object], *arguments: Any) -> bool:
        """Call ``callback`` unless stopped; return whether it was called."""
        with self._publish_lock:
            is_called = not self._stopped.is_set()
            with contextlib.suppress(Exception):  # the window it belongs to may be closing
                if is_called:
                    callback(*arguments)
        return is_called
