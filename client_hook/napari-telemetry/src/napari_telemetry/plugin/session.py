"""One session of napari: runs what takes time in the background, and tells what came of it.

Every method returns at once. Files are read and written by one daemon thread and the network is used by another, so that an
answer about consent never waits for a server. No report leaves while an answer is not yet written down. Listeners are called in
those threads; the GUI passes on by a queued signal.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_telemetry.formatting import pretty_json
from napari_telemetry.plugin.reading import Reading
from napari_telemetry.plugin.snapshot import Snapshot, Task
from napari_telemetry.plugin.tasks import Listener, Tasks

if TYPE_CHECKING:
    from datetime import timedelta

    from napari_telemetry.api import Here
    from napari_telemetry.asking import Question
    from napari_telemetry.standing import ClientStatus
    from napari_telemetry.wire import Level

LOOK_EVERY_S = 1.0
READ_ANEW_EVERY_S = 60.0
"""Re-read regularly: time-limited consent expires without a file change."""
REQUEST_DEADLINE_S = 9.0
WRITTEN_WITHIN_S = 2.0
"""How long a report or shutdown waits for a pending answer to be saved."""


class Session:
    """The client of this environment, with a `snapshot` that is true within a second or two of any change on this computer,
    whoever made it.

    ``make_here``: returns a new client for each report, because packages come and go while napari runs.
    """

    def __init__(self, make_here: Callable[[], Here] | None = None) -> None:
        self._reading = Reading(make_here or _client_here)
        self._tasks = Tasks()
        self._is_reading = threading.Lock()
        self._is_started = False
        self._is_looking = False

    @property
    def snapshot(self) -> Snapshot:
        """How everything stands, as of now."""
        return self._tasks.snapshot

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not stopped."""
        return self._is_started and not self._tasks.stopped.is_set()

    def start(self) -> None:
        """Read how everything stands, and go on watching."""
        if not self._is_started:
            self._is_started = True
            atexit.register(self._end)  # before Qt takes its objects away: nobody must be told any more
            threading.Thread(target=self._watch, name="napari-telemetry-watch", daemon=True).start()

    def stop(self) -> None:
        """Stop watching and sending."""
        self._tasks.stop()

    def _end(self) -> None:
        """Stop as the process ends, which would take an answer with it that is just being written down."""
        self.stop()
        if not self._tasks.holds.are_tried(WRITTEN_WITHIN_S):
            told = "Your last answer about telemetry could not be written down in time. Please answer again."
            logging.getLogger(__name__).warning(told)

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` with every snapshot from now on, in a thread of this session."""
        self._tasks.subscribe(listener)

    def run(self, job: Callable[[], object]) -> None:
        """Run what is not of this session, but would take too long on the GUI thread."""
        self._tasks.put(job)

    def refresh(self) -> None:
        """Read everything anew, also what is installed."""

        def read() -> None:
            self._reading.forget_client(examine=True)
            self._read()

        self._tasks.put(read)

    def send(self, deadline_s: float) -> None:
        """Send the report that is due, and wait for it. Called by the update check, on its thread.

        ``deadline_s``: seconds it may take.
        """
        self.begin_sending(deadline_s).wait(deadline_s + WRITTEN_WITHIN_S)

    def begin_sending(self, deadline_s: float) -> threading.Event:
        """Send the report that is due; the event is set once that has ended, however it did."""
        done = threading.Event()

        def work() -> None:
            try:
                self._send(deadline_s)
            finally:
                done.set()

        self._tasks.on_network(Task.SEND, work)
        return done

    def answer(
        self,
        level: Level | str,
        *,
        lasting: timedelta | None = None,
        means: str,
        service: str,
        for_as_long_as_before: bool = False,
    ) -> None:
        """Record an answer to the question. ``lasting``: None means until it is changed. ``means``: for the history.

        ``service``: the one that the person was told of; where it is another by now, nothing is recorded.
        ``for_as_long_as_before``: where an answer holds that ends, this one ends with it. From now until it is recorded, no
        report leaves.
        """

        def record() -> None:
            from napari_telemetry.decision import agreed_level
            from napari_telemetry.errors import UpdateHookError
            from napari_telemetry.wire import Level

            here = self._reading.client()
            if service != here.settings.service:
                raise UpdateHookError(
                    f"Nothing was recorded: reports would go to {here.settings.service} by now, and not to {service}. "
                    "Please answer again."
                )
            until, now = None, here.settings.now()
            if for_as_long_as_before and (before := here.store.consents.current()) is not None:
                until = before.until if agreed_level(before, here.settings, now) is not Level.NONE else None
            here.client.set_consent(Level(level), lasting=until - now if until else lasting, means=means)

        self._tasks.write_down(Task.ANSWER, record, then=self._read)

    def put_question(self, show: Callable[[Question | None], object], *, by_hand: bool = False) -> None:
        """Make the examples of a question, then call ``show`` in a thread of this session.

        ``show`` is given why it is put, and what has changed since the last answer; None where that answer holds. Where it is
        put by itself, that is written down first, and nothing is shown where another process has just put it.
        """

        is_noted = by_hand

        def prepare() -> None:
            nonlocal is_noted  # where a file is busy, this runs again
            from napari_telemetry.asking import due_question

            if self._tasks.stopped.is_set():
                return  # nobody would see it, and it would count as put
            here = self._reading.client()
            now = here.settings.now()
            question = due_question(here.store.consents.current(), [], here.settings, now)  # however often it was put
            if not is_noted and (question is None or not here.store.consents.note_asking(now)):
                self._read()
                return
            is_noted = True
            self._tasks.change(examples=_examples(here))
            self._read()
            show(question)

        self._tasks.on_files(Task.QUESTION, prepare)

    def show_preview(self) -> None:
        """Make what the next check sends; the public lists are fetched for it."""

        def prepare() -> None:
            from napari_telemetry.collect import flush_counts

            flush_counts()
            prepared = self._reading.client().client.preview()
            self._tasks.change(preview=pretty_json(prepared.body) if prepared else None)

        self._tasks.on_network(Task.PREVIEW, prepare)

    def ask_servers(self) -> None:
        """Ask the servers what they hold of this account."""

        def ask() -> None:
            from napari_telemetry.own_data import server_copy

            here = self._reading.client()
            self._tasks.change(copies=tuple(server_copy(here.settings, here.store, REQUEST_DEADLINE_S)))

        self._tasks.on_network(Task.SERVER_COPY, ask)

    def forget(self) -> None:
        """Delete everything that servers hold, and its copies here. From now on nothing of it leaves."""

        def stop_sending() -> None:
            from napari_telemetry.own_data import stop_sending

            here = self._reading.client()
            stop_sending(here.settings, here.store)

        def delete() -> None:
            from napari_telemetry.own_data import forget

            here = self._reading.client()
            done = forget(here.settings, here.store, REQUEST_DEADLINE_S, progress=self._tell_progress)
            self._tasks.change(forgotten=done, copies=None, preview=None, progress="")
            self._read()

        self._tasks.change(forgotten=None, progress="")
        self._tasks.write_down(Task.FORGET, stop_sending, then=lambda: self._tasks.on_network(Task.FORGET, delete))

    def _tell_progress(self, text: str) -> None:
        self._tasks.change(progress=text)

    def _send(self, deadline_s: float) -> None:
        self._tasks.holds.are_tried(WRITTEN_WITHIN_S)  # a consent given just before applies to this report
        self._reading.forget_client()  # what is installed may have changed
        try:
            self._tasks.change(outcome=self._reading.client().client.send(self._may_send, deadline_s))
        finally:
            self._read()

    def _may_send(self) -> bool:
        return self._tasks.holds.are_over(WRITTEN_WITHIN_S) and not self._tasks.stopped.is_set()

    def _read(self) -> None:
        """Rebuild the snapshot from the files."""
        with self._is_reading:  # both threads read: the later one must not publish what it began with
            if self._tasks.stopped.is_set():
                return
            changes = self._reading.read(self.snapshot)
            if (status := changes.get("status")) is not None:
                _count_only_at_level_full(status.level)
            with self._tasks.changing:
                over = set()
                if _has_answered(status, self.snapshot.status) and self._tasks.holds.given_elsewhere(Task.ANSWER):
                    over.add(Task.ANSWER)
                self._tasks.change(**changes, failures=self._tasks.failures_but(*over))

    def _watch(self) -> None:
        """Look whether any file changed."""
        import time

        self._look()
        next_read = time.monotonic() + READ_ANEW_EVERY_S
        while not self._tasks.stopped.wait(LOOK_EVERY_S):
            with contextlib.suppress(Exception):
                if time.monotonic() >= next_read:
                    next_read = time.monotonic() + READ_ANEW_EVERY_S
                    self.refresh()  # packages come and go
                elif self._reading.may_have_changed():
                    self._look()

    def _look(self) -> None:
        """Have the files read soon. While that waits for somebody who uses them, no second reading waits behind it."""

        def read() -> None:
            try:
                self._read()
            finally:
                self._is_looking = False

        if not self._is_looking:
            self._is_looking = True
            self._tasks.put(read)


def _has_answered(status: ClientStatus | None, before: ClientStatus | None) -> bool:
    return status is not None and before is not None and status.consent not in (None, before.consent)


def _client_here() -> Here:
    from napari_telemetry.api import client_here

    return client_here()


def _count_only_at_level_full(level: Level) -> None:
    """Have a collector exactly where level full is in force, before anybody hears of it."""
    from napari_telemetry.collect import consent_changed, start_counting, stop_counting
    from napari_telemetry.wire import Level

    if level is Level.FULL:
        start_counting()
        consent_changed()
    else:
        stop_counting()


def _examples(here: Here) -> dict[str, str]:
    from napari_telemetry.wire import TELEMETRY_LEVELS

    return {level.value: pretty_json(here.client.example(level)) for level in TELEMETRY_LEVELS}
