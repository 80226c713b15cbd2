"""Reads what a snapshot shows out of the files, and tells when they may have changed, whoever changed them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_telemetry.plugin.marks import Marks

if TYPE_CHECKING:
    from napari_telemetry.api import Here
    from napari_telemetry.plugin.snapshot import Snapshot


class Reading:
    """The client of this environment, and how its files were when they were last read.

    ``make_here``: gives the client, made anew after each `forget_client`, because packages and an administrator's settings come
    and go while napari runs. May be used by several threads, `read` by one at a time.
    """

    def __init__(self, make_here: Callable[[], Here]) -> None:
        self._make_here = make_here
        self._making = threading.Lock()  # one thread at a time makes a client, which may take a second
        self._keeping = threading.Lock()
        self._here: Here | None = None
        self._is_forgotten = False
        self._read_with: Here | None = None
        self._is_unusable = False
        self.is_behind = False
        """Whether something could not be read the last time, because somebody used the files."""
        self._site = Marks()
        self._state = Marks()
        self._is_anew = True

    def client(self) -> Here:
        """Return the client. Raises SettingsError."""
        if (here := self._here) is not None:  # another thread may have it forgotten meanwhile
            return here
        with self._making:
            while (here := self._here) is None:
                self._is_forgotten = False
                self._site.take(_site_files())
                here = self._make_here()
                with self._keeping:
                    if not self._is_forgotten:  # else it is of before
                        self._here = here
                        break
            return here

    def forget_client(self, *, examine: bool = False) -> None:
        """Make the client anew when it is next wanted. ``examine``: and look at every page of the files once more."""
        with self._keeping:
            self._is_forgotten = True
            self._here = None
        self._is_anew |= examine

    def read(self, before: Snapshot) -> dict[str, Any]:
        """Return what changes in the snapshot ``before``.

        What is busy stays as it was, and is read again at the next look.
        """
        from napari_telemetry.errors import StateBusyError, UpdateHookError

        try:
            here = self._read_with = self.client()
        except UpdateHookError as error:
            self._is_unusable = True
            return {"problem": str(error), "status": None}
        self._is_unusable = False
        self._state.take(_state_files(here))  # before reading: what changes meanwhile is read again
        try:
            return self._changes(here, before)
        except StateBusyError:
            self._state.forget()
            self.is_behind = True
            return {}
        except BaseException:
            self._state.forget()
            raise

    def _changes(self, here: Here, before: Snapshot) -> dict[str, Any]:
        from napari_telemetry.errors import StateBusyError, StateError
        from napari_telemetry.own_data import LONGEST_SENDING, own_ids
        from napari_telemetry.standing import client_status

        self.is_behind = False
        status = client_status(
            here.settings,
            here.store,
            here.client.telemetry,
            examine=self._is_anew or before.status is None or bool(before.status.problems),
        )
        if status.is_busy:
            self._state.forget()
            return {}
        self._is_anew = False
        store, now = here.store, here.settings.now()
        changes: dict[str, Any] = {"status": status, "problem": None, "takes_reports": here.client.takes_reports()}
        try:
            changes |= {
                "is_sending": store.sendings.is_sending(now - LONGEST_SENDING),
                "sent": tuple(store.sendings.sent()),
                "ids": own_ids(here.settings, store),
            }
        except StateBusyError:
            self._state.forget()
        except StateError:  # `status.files` says what is wrong
            pass
        return changes

    def may_have_changed(self) -> bool:
        """Whether what was last read may be another by now: the state files, or an administrator's file."""
        if self._site.may_have_changed(_site_files()):  # it is part of the settings
            self.forget_client()
            return True
        here = self._here
        if here is None:
            return not self._is_unusable  # else that is told already, and nothing has changed since
        return here is not self._read_with or self._state.may_have_changed(_state_files(here))


def _state_files(here: Here) -> list[Path]:
    checks = here.client.hook_state.folder  # which says whether the server takes reports
    return [*(file.path for file in here.store.files), *([checks / "check.json"] if checks is not None else [])]


def _site_files() -> tuple[Path, ...]:
    from napari_update_hook.settings import site_files

    return site_files(os.environ)
