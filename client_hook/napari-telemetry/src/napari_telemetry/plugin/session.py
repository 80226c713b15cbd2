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
    from napari_telemetry.client import CheckResult
    from napari_telemetry.standing import ClientStatus
    from napari_telemetry.wire import Level

LOOK_EVERY_S = 1.0
LOOK_WHILE_CHECKING_S = 0.1
READ_ANEW_EVERY_S = 60.0
"""Consent for a time ends without a change of any file."""
FIRST_CHECK_AFTER_S = 5.0
CHECK_EVERY_S = 3600.0
"""So often it is asked whether a check is due; the server and earlier failures say when one is."""
REQUEST_DEADLINE_S = 9.0
WRITTEN_WITHIN_S = 2.0
"""So long a check, a report and the end of napari wait for what a person has just said to be written down."""


class Session:
    """The client of this environment, with a `snapshot` that is true within a second or two of any change on this computer,
    whoever made it.

    ``make_here``: gives the client, anew for each check, because packages come and go while napari runs.
    ``first_check_after``: seconds from `start` to the first check.
    """

    def __init__(self, make_here: Callable[[], Here] | None = None, first_check_after: float | None = None) -> None:
        self._reading = Reading(make_here or _client_here)
        self._first_check_after = FIRST_CHECK_AFTER_S if first_check_after is None else first_check_after
        self._tasks = Tasks()
        self._tellers: list[Callable[[list[tuple[str, str]]], object]] = []
        self._is_reading = threading.Lock()
        self._is_started = False
        self._is_looking = False

    @property
    def snapshot(self) -> Snapshot:
        """How everything stands, as of now."""
        return self._tasks.snapshot

    def start(self) -> None:
        """Read how everything stands, go on watching, and check for updates soon and from time to time."""
        if not self._is_started:
            self._is_started = True
            atexit.register(self._end)  # before Qt takes its objects away: nobody must be told any more
            threading.Thread(target=self._watch, name="napari-telemetry-watch", daemon=True).start()

    def stop(self) -> None:
        """Watch, check, send and tell no more."""
        self._tasks.stop()
        self._tellers.clear()

    def _end(self) -> None:
        """Stop as the process ends, which would take an answer with it that is just being written down."""
        self.stop()
        if not self._tasks.holds.are_tried(WRITTEN_WITHIN_S):
            told = "Your last answer about telemetry could not be written down in time. Please answer again."
            logging.getLogger(__name__).warning(told)

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` with every snapshot from now on, in a thread of this session."""
        self._tasks.subscribe(listener)

    def on_notice(self, teller: Callable[[list[tuple[str, str]]], object]) -> None:
        """Call ``teller`` with the (name, version) of updates to tell a person of now, in a thread of this session."""
        self._tellers.append(teller)

    def run(self, job: Callable[[], object]) -> None:
        """Run what is not of this session, but would take too long on the GUI thread."""
        self._tasks.put(job)

    def refresh(self) -> None:
        """Read everything anew, also what is installed."""

        def read() -> None:
            self._reading.forget_client(examine=True)
            self._read()

        self._tasks.put(read)

    def check(self, *, by_hand: bool = True) -> None:
        """Ask for updates. ``by_hand``: because a person asked, and not because it may be due."""
        if not self.snapshot.is_busy(Task.CHECK):
            self._tasks.on_network(Task.CHECK, lambda: self._check(by_hand))

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

    def snooze(self, name: str, version: str, lasting: timedelta | None) -> None:
        """Do not tell of an update: for a time, or None for ever."""

        def add() -> None:
            from packaging.utils import canonicalize_name

            from napari_telemetry.state.snoozes import Snooze

            here = self._reading.client()
            until = here.settings.now() + lasting if lasting is not None else None
            here.store.snoozes.add(Snooze(canonicalize_name(name), version, until))
            self._read()

        self._tasks.on_files(Task.SNOOZE, add)

    def unsnooze(self, name: str) -> None:
        """Tell of a package's updates again."""

        def remove() -> None:
            from packaging.utils import canonicalize_name

            self._reading.client().store.snoozes.remove(canonicalize_name(name))
            self._read()

        self._tasks.on_files(Task.SNOOZE, remove)

    def notify(self, wanted: bool) -> None:
        """Remember whether a person wants notifications."""

        def want() -> None:
            self._reading.client().store.notices.want(wanted)
            self._read()

        self._tasks.on_files(Task.SNOOZE, want)

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

    def _check(self, by_hand: bool) -> None:
        self._tasks.holds.are_tried(WRITTEN_WITHIN_S)  # who has just agreed means this check, too
        self._reading.forget_client()  # what is installed may have changed
        here = self._reading.client()
        try:
            result = here.client.check(only_if_due=not by_hand, may_send=self._may_send)
        except Exception:
            self._read()
            raise
        self._read(result)
        self._tasks.on_files(Task.TELL, self._tell)  # after what a person wanted meanwhile: it may be not to hear of them

    def _may_send(self) -> bool:
        return self._tasks.holds.are_over(WRITTEN_WITHIN_S) and not self._tasks.stopped.is_set()

    def _tell(self) -> None:
        """Tell of updates that were not told before, if a person wants that. Raises StateError."""
        from packaging.utils import canonicalize_name

        from napari_telemetry.errors import StateBusyError
        from napari_telemetry.updates import Status

        tellers = list(self._tellers)
        if not tellers:
            return
        if self._reading.is_behind:
            self._read()
        if self._reading.is_behind:
            raise StateBusyError("What the check found can't be compared right now: another process uses the files.")
        here, result = self._reading.client(), self.snapshot.result
        now = here.settings.now()
        if result is None or not here.store.notices.wanted():
            return
        snoozes = here.store.snoozes.all()  # not as it was read for the rows, which another process may have kept from reading
        updates = [
            (row.name, row.latest)
            for row in result.rows
            if row.status is Status.UPDATE and row.latest is not None
            if not any(one.covers(canonicalize_name(row.name), row.latest, now) for one in snoozes)
        ]
        if updates and here.store.notices.claim(updates, now):
            for teller in tellers:
                with contextlib.suppress(Exception):  # a window that is just going away
                    teller(updates)

    def _read(self, found: CheckResult | None = None) -> None:
        """Make the snapshot anew from the files. ``found``: what a check has just found."""
        with self._is_reading:  # both threads read: the later one must not publish what it began with
            if self._tasks.stopped.is_set():
                return
            changes = self._reading.read(self.snapshot, found)
            if (status := changes.get("status")) is not None:
                _count_only_at_level_full(status.level)
            with self._tasks.changing:
                over = set()
                if _is_newer(changes.get("result"), self.snapshot.result):  # whoever asked
                    over.add(Task.CHECK)
                if _has_answered(status, self.snapshot.status) and self._tasks.holds.given_elsewhere(Task.ANSWER):
                    over.add(Task.ANSWER)
                self._tasks.change(**changes, failures=self._tasks.failures_but(*over))

    def _watch(self) -> None:
        """Look whether any file changed, and whether a check may be due."""
        import time

        self._look()
        next_read = time.monotonic() + READ_ANEW_EVERY_S
        next_check = time.monotonic() + self._first_check_after
        while not self._tasks.stopped.wait(LOOK_WHILE_CHECKING_S if self.snapshot.is_busy(Task.CHECK) else LOOK_EVERY_S):
            now = time.monotonic()
            with contextlib.suppress(Exception):
                if now >= next_read:
                    next_read = now + READ_ANEW_EVERY_S
                    self.refresh()  # packages come and go
                elif self._reading.may_have_changed():
                    self._look()
                if now >= next_check:
                    next_check = now + CHECK_EVERY_S
                    status = self.snapshot.status
                    if status is None or status.check_switch is None:
                        self.check(by_hand=False)

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


def _is_newer(found: CheckResult | None, before: CheckResult | None) -> bool:
    return found is not None and (before is None or found.fetched_at > before.fetched_at)


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
