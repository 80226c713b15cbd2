"""Slots that nobody asked for by a click: where one fails, napari goes on and shows nothing of it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

Slot = TypeVar("Slot", bound=Callable[..., None])


def quiet(slot: Slot) -> Slot:
    """Have an exception of ``slot`` end that call alone. Qt would hand it to napari, which shows it to the person."""

    @functools.wraps(slot)
    def run(*args: Any) -> None:
        try:
            slot(*args)
        except Exception:
            logging.getLogger("napari_telemetry").debug("%s failed", slot.__name__, exc_info=True)

    return run  # type: ignore[return-value]
