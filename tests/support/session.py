"""What tests of a session ask and wait for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import httpx
from napari_update_hook.errors import StateBusyError
from napari_update_hook.wire import Level

from tests.support.client import SERVER, UPDATES_BODY, Machine

SERVICE = SERVER


def answer() -> httpx.Response:
    """Return an answer of the service that has one update."""
    return httpx.Response(200, content=UPDATES_BODY, headers={"content-type": "application/json"})


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until ``condition`` holds; fail after ``seconds``. What another thread is just writing is not there yet."""

    def holds() -> Any:
        with contextlib.suppress(StateBusyError):
            return condition()

    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not come about"
        time.sleep(0.01)


def level_recorded(machine: Machine) -> Level | None:
    """Return the level of the newest answer, None where there is none."""
    record = machine.store.consents.current()
    return record.level if record is not None else None
