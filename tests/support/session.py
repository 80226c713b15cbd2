"""What tests of a session ask and wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_telemetry.errors import StateBusyError
from napari_telemetry.wire import Level

from tests.support import waiting
from tests.support.client import SERVER, Machine

SERVICE = SERVER


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until ``condition`` holds. While another thread writes the state, it does not hold yet."""
    waiting.wait_until(condition, seconds=seconds, not_yet=(StateBusyError,))


def level_recorded(machine: Machine) -> Level | None:
    """Return the level of the newest answer, None where there is none."""
    record = machine.store.consents.current()
    return record.level if record is not None else None
