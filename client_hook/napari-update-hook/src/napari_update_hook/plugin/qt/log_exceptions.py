"""A decorator for slots that the user did not trigger."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

Slot = TypeVar("Slot", bound=Callable[..., None])


def log_exceptions(slot: Slot) -> Slot:
    """Log exceptions instead of raising them, because napari would show them to the user."""

    @functools.wraps(slot)
    def run(*args: Any) -> None:
        try:
            slot(*args)
        except Exception:
            logging.getLogger("napari_update_hook").debug("%s failed", slot.__name__, exc_info=True)

    return run  # type: ignore[return-value]
