"""Runs what takes time in the background, and publishes snapshots: how everything stands, what is under way and what failed.

Files are read and written by one daemon thread and the network is used by another. Listeners are called in those threads.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from napari_telemetry.plugin.holds import Holds
from napari_telemetry.plugin.snapshot import Snapshot, Task
from napari_telemetry.plugin.workers import Job, Worker

TRIES_WHILE_BUSY = 20
"""So often, a second apart, what a person wants is tried where another process or thread uses the files."""
REST_S = 1.0

Listener = Callable[[Snapshot], object]


class Tasks:
    """The tasks of a session, and its newest ``snapshot``. ``holds``: what no report may overtake.

    Every method returns at once.
    """

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self.holds = Holds()
        self.stopped = threading.Event()
        self.changing = threading.RLock()  # a listener may change something itself
        self._files = Worker("state")
        self._network = Worker("network")
        self._listeners: list[Listener] = []
        self._under_way: Counter[Task] = Counter()

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` with every snapshot from now on."""
        self._listeners.append(listener)

    def change(self, **changes: Any) -> None:
        """Publish a new snapshot. Listeners hear of it before the next is made: the last that they hear is the newest."""
        with self.changing:
            before = self.snapshot
            self.snapshot = replace(before, **changes)
            for listener in list(self._listeners) if self.snapshot != before else ():
                with contextlib.suppress(Exception):  # a window that is just going away
                    listener(self.snapshot)

    def stop(self) -> None:
        """Use the network and call listeners no more. What a person wants is still written down."""
        self.stopped.set()
        self._listeners.clear()

    def put(self, job: Job) -> None:
        """Run a job on the thread of the files, which is no task of its own, unless all has stopped by then."""
        self._files.put(lambda: self.stopped.is_set() or job())

    def on_files(self, task: Task, job: Job, otherwise: Job = lambda: None) -> None:
        """Run a job that changes files or nothing: again while somebody else uses them, because no answer may get lost.

        ``otherwise``: called where it fails.
        """
        self._run(self._files, task, lambda: self._patiently(job), otherwise)

    def on_network(self, task: Task, job: Job) -> None:
        """Run a job that asks a server."""
        self._run(self._network, task, lambda: self.stopped.is_set() or job())

    def write_down(self, task: Task, job: Job, then: Job) -> None:
        """Run a job that writes down what no report may overtake, and ``then`` what follows."""
        number = self.holds.ask(task)
        is_written = False

        def write() -> None:
            nonlocal is_written  # where a file is busy, this runs again
            if not is_written:
                job()
                is_written = True
                self.holds.written(task, number)
            then()

        def fail() -> None:
            if not is_written:
                self.holds.failed(task, number)

        self.on_files(task, write, fail)

    def failures_but(self, *tasks: Task) -> dict[Task, str]:
        """Return why other tasks failed."""
        return {name: text for name, text in self.snapshot.failures.items() if name not in tasks}

    def _run(self, worker: Worker, task: Task, job: Job, otherwise: Job = lambda: None) -> None:
        """Run a job. While it runs ``busy`` has it, and where it fails ``failures`` says why, until it is tried again."""
        with self.changing:  # the other thread may begin or end something at the same time
            self._under_way[task] += 1
            self.change(busy=frozenset(+self._under_way), failures=self.failures_but(task))

        def run() -> None:
            failures = {}
            try:
                job()
            except Exception as error:
                failures[task] = _explained(error)
                otherwise()
            with self.changing:
                self._under_way[task] -= 1  # the same may wait once more
                self.change(busy=frozenset(+self._under_way), failures=self.failures_but(task) | failures)

        worker.put(run)

    def _patiently(self, job: Job) -> None:
        from napari_telemetry.errors import StateBusyError

        for tries in range(TRIES_WHILE_BUSY, 0, -1):
            try:
                job()
            except StateBusyError:
                if tries == 1:
                    raise
                self.stopped.wait(REST_S)  # as napari ends, there is no time to rest
            else:
                return


def _explained(error: Exception) -> str:
    from napari_telemetry.errors import UpdateHookError

    if isinstance(error, UpdateHookError):
        return str(error)
    return f"Something unforeseen went wrong ({type(error).__name__}: {error}). Please report this."
