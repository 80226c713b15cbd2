"""What tests in real napari wait for, and how long."""

from __future__ import annotations

from typing import Any, TypeVar

from qtpy.QtWidgets import QApplication, QWidget

PATIENCE_MS = 30_000
"""For changes that a person sees at once, on a busy machine. Shorter than `worker.READ_INTERVAL_S`, so they were noticed."""

T = TypeVar("T", bound=QWidget)


def shown(kind: type[T]) -> list[T]:
    """Return the windows of a kind that a person sees; one of an earlier test may still be going away."""
    windows: list[Any] = QApplication.topLevelWidgets()
    return [one for one in windows if isinstance(one, kind) and one.isVisible()]
