"""The session, which checks, reads and installs on one thread, and publishes snapshots."""

from __future__ import annotations

import sys
import sysconfig
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_update_hook.plugin.worker import Worker

if TYPE_CHECKING:
    from datetime import timedelta

    from napari_update_hook.client import CheckResult, UpdateClient
    from napari_update_hook.plugin.runner import Log, Runner
    from napari_update_hook.plugin.tasks import Task
    from napari_update_hook.updates import UpdateRow

FIRST_CHECK_AFTER_S = 5.0
CHECK_INTERVAL_S = 3600.0
"""Seconds between tests whether a check is due; the server's interval and the back-off decide."""
MAX_LOG_LINES = 500


@dataclass(frozen=True)
class Snapshot:
    """The state to draw.

    ``problem``: why there is no check. ``failure``: error of the last check or user action. ``undo``: the changes that
    undoing the last update would make.
    """

    result: CheckResult | None = None
    problem: str | None = None
    failure: str | None = None
    is_checking: bool = False
    notifies: bool = True
    task: Task | None = None
    undo: tuple[str, ...] = ()
    needs_restart: bool = False
    offers_telemetry: bool = False

    @property
    def is_installing(self) -> bool:
        return self.task is not None and self.task.is_running

    @property
    def is_changing(self) -> bool:
        """Whether the environment is being changed, so napari should stay open."""
        return self.task is not None and self.task.is_changing


class Session(Worker):
    """The session of the update check. ``make_client``: returns a client for the current environment."""

    NAME = "napari-update-hook"
    snapshot: Snapshot

    def __init__(self, make_client: Callable[[], UpdateClient] | None = None, first_check_after: float | None = None) -> None:
        super().__init__(Snapshot())
        self._make_client = make_client or _current_client
        self._next_check = time.monotonic() + (FIRST_CHECK_AFTER_S if first_check_after is None else first_check_after)
        self._on_updates: list[Callable[[list[UpdateRow]], object]] = []
        self._signature: Any = None
        self._has_offered = False
        self._runner: Runner | None = None
        self._cancelled = threading.Event()
        self.make_runner: Callable[[Log, threading.Event], Runner] | None = None
        """Creates a runner from a log and a cancel event; if None, `Runner` is used."""

    def stop(self) -> None:
        """Stop checking and notifying; queued user actions are still saved."""
        self._on_updates.clear()
        super().stop()

    def on_updates(self, callback: Callable[[list[UpdateRow]], object]) -> None:
        """Register a callback that gets the rows of new updates, on the session's thread."""
        self._on_updates.append(callback)

    def check(self) -> None:
        self._publish(is_checking=True, failure=None)
        self._jobs.put(lambda: self._check(only_if_due=False))

    def refresh(self) -> None:
        self._jobs.put(partial(self._read, again=True))

    def update(self, names: Sequence[str] = (), *, with_downgrades: bool = False) -> None:
        """Install all planned updates, or those of ``names``, after a dry run.

        ``with_downgrades``: whether the user agreed to downgrades of other packages.
        """
        from napari_update_hook.plugin import tasks  # fast: the thread has already imported it

        self._begin(tasks.DRY_RUN_TITLE, partial(tasks.update, names=names, with_downgrades=with_downgrades), names)

    def try_update(self, names: Sequence[str] = ()) -> None:
        from napari_update_hook.plugin import tasks

        self._begin(tasks.DRY_RUN_TITLE, partial(tasks.try_update, names=names), names)

    def undo(self) -> None:
        from napari_update_hook.plugin import tasks

        self._begin("Undoing the last update…", tasks.undo)

    def install_telemetry(self, then: Callable[[], object]) -> None:
        from napari_update_hook.plugin import tasks

        self._begin("Installing…", partial(tasks.install_telemetry, then=partial(self.call, then)), can_cancel=False)

    def cancel(self) -> None:
        """Interrupt the tool, so that it rolls back."""
        with self._publish_lock:
            if not self.snapshot.is_installing:
                return
            self._cancelled.set()
            self._change_task(title="Cancelling…", can_cancel=False)
        if (runner := self._runner) is not None:
            runner.interrupt()

    def dismiss_task(self) -> None:
        self._publish(task=None)

    def _begin(
        self, title: str, work: Callable[..., dict[str, Any]], names: Sequence[str] = (), *, can_cancel: bool = True
    ) -> None:
        from napari_update_hook.plugin.tasks import Task

        if self.snapshot.is_installing:
            return
        cancelled = self._cancelled = threading.Event()
        self._publish(task=Task(title, tuple(names), can_cancel=can_cancel), failure=None)

        def run() -> None:
            from napari_update_hook.plugin.runner import Runner

            try:
                self._runner = (self.make_runner or Runner)(self._log, cancelled)
                changes = work(self._make_client(), self._runner, self._change_task)
            except Exception as error:
                changes = {"outcome": error_message(error), "has_failed": True}
            self._runner = None
            self._publish(needs_restart=self.snapshot.needs_restart or changes.get("has_changed", False))
            self._change_task(is_running=False, is_changing=False, **changes)
            self._read(again=True)

        self._jobs.put(run)

    def _log(self, lines: Sequence[str]) -> None:
        if (task := self.snapshot.task) is not None:
            self._change_task(log=(*task.log, *lines)[-MAX_LOG_LINES:])

    def _change_task(self, **changes: Any) -> None:
        with self._publish_lock:
            if (task := self.snapshot.task) is not None:
                self._publish(task=replace(task, **changes))

    def snooze(self, name: str, version: str, lasting: timedelta | None) -> None:
        """Snooze an update; forever if ``lasting`` is None."""

        def save(client: UpdateClient) -> None:
            from packaging.utils import canonicalize_name

            from napari_update_hook.state import Snooze

            until = client.settings.now() + lasting if lasting is not None else None
            client.state.snooze(Snooze(canonicalize_name(name), version, until))

        self._save(save)

    def unsnooze(self, name: str) -> None:
        def save(client: UpdateClient) -> None:
            from packaging.utils import canonicalize_name

            client.state.unsnooze(canonicalize_name(name))

        self._save(save)

    def set_notifications(self, wanted: bool) -> None:
        self._save(lambda client: client.state.set_notifications(wanted))

    def claim_offer(self) -> bool:
        """Record that the message about usage reports is shown; return False if it already was."""
        is_first, self._has_offered = not self._has_offered, True  # even if saving fails
        if is_first:
            self.decline_telemetry()
        return is_first

    def decline_telemetry(self) -> None:
        self._save(lambda client: client.state.record_offer())

    def attach_telemetry(self, viewer: Any) -> None:
        """Attach napari-telemetry to the viewer, if it is installed and allowed (see `seam`)."""
        kept = weakref.ref(viewer)

        def run() -> None:
            from napari_update_hook import seam

            if (viewer := kept()) is not None:
                state, now = _state_and_time()
                seam.attach(state, now, viewer)

        self._jobs.put(run)

    def _offers(self, client: UpdateClient) -> bool:
        from napari_update_hook.offer import should_offer

        return not self._has_offered and should_offer(client)

    def _save(self, work: Callable[[UpdateClient], None]) -> None:
        def run() -> None:
            failure = None
            try:
                work(self._make_client())
            except Exception as error:
                failure = error_message(error)
            self._publish(failure=failure)
            self._read()

        self._jobs.put(run)

    def _has_changed(self) -> bool:
        return bool(self._state_signature() != self._signature)

    def _state_signature(self) -> Any:
        """Return a value that changes with the state files or the installed packages."""
        return _state_and_time()[0].signature(), *(_mtime(sysconfig.get_path(name)) for name in ("purelib", "platlib"))

    def _on_idle(self) -> None:
        if time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + CHECK_INTERVAL_S
            self._check(only_if_due=True)

    def _read(self, *, again: bool = False) -> None:
        from napari_update_hook.plugin.tasks import undo_summary

        try:
            self._signature = self._state_signature()  # before reading, to notice changes made meanwhile
            client = self._make_client()
            problem = f"The update check is off: {client.settings.disabled_by}." if client.settings.disabled_by else None
            result = None if problem else client.known(keep_napari=True)
            before = self.snapshot.result
            if result is not None and before is not None and result.fetched_at == before.fetched_at:
                result = replace(result, notice=before.notice, is_from_cache=before.is_from_cache)  # keep its notice
            result = result or (None if problem else before)
            notifies, offers = client.state.notifications_enabled(), self._offers(client)
            undo = undo_summary(client)
            self._publish(result=result, problem=problem, notifies=notifies, offers_telemetry=offers, undo=undo)
        except Exception as error:
            self._publish(problem=error_message(error))

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
            if self._on_updates and not result.is_from_cache and (updates := client.claim_notification(result.rows)):
                for callback in list(self._on_updates):
                    self.call(callback, updates)
            self._signature = self._state_signature()
        except Exception as error:
            if not only_if_due or self.snapshot.result is None:
                self._publish(failure=error_message(error))
        finally:
            self._publish(is_checking=False)


def _current_client() -> UpdateClient:
    from napari_update_hook.client import current_client

    return current_client()


def _state_and_time() -> Any:
    """Return the state and the current time, without importing the client."""
    from napari_update_hook.settings import current_settings
    from napari_update_hook.state import State, environment_id

    settings = current_settings()
    return State(settings.state, environment_id(Path(sys.prefix))), settings.now()


def _mtime(folder: str) -> float:
    try:
        return Path(folder).stat().st_mtime
    except OSError:
        return 0.0


def error_message(error: Exception) -> str:
    from napari_update_hook.errors import UpdateHookError

    if isinstance(error, UpdateHookError):
        return str(error)
    return f"Unexpected error ({type(error).__name__}: {error}). Please report it."
