"""What tests of a session ask and wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx
from napari_telemetry.errors import StateBusyError
from napari_telemetry.plugin.session import Session
from napari_telemetry.wire import Level

from tests.support import waiting
from tests.support.client import SERVER, TABLE_BODY, Machine

SERVICE = SERVER


def answer() -> httpx.Response:
    """Return an answer of the service that has one update."""
    return httpx.Response(200, content=TABLE_BODY, headers={"content-type": "application/json"})


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until ``condition`` holds. While another thread writes the state, it does not hold yet."""
    waiting.wait_until(condition, seconds=seconds, not_yet=(StateBusyError,))


def level_recorded(machine: Machine) -> Level | None:
    """Return the level of the newest answer, None where there is none."""
    record = machine.store.consents.current()
    return record.level if record is not None else None


def network_drained(session: Session) -> None:
    """Wait until the network thread has done all that was queued."""
    done = threading.Event()
    session._tasks._network.put(done.set)
    assert done.wait(60)
