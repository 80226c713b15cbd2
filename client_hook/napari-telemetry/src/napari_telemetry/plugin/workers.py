"""Daemon threads that run jobs one after the other.

napari's own workers, Qt's thread pools and executors all make the exit wait for a job that hangs; a daemon thread does not.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

Job = Callable[[], object]


class Worker:
    """One daemon thread, started with the first job. A job that raises ends that job alone."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, job: Job) -> None:
        """Run ``job`` after those before it. Returns at once."""
        self._jobs.put(job)
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"napari-telemetry-{self._name}", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            with contextlib.suppress(Exception):
                job()
