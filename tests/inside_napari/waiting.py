"""Waiting in GUI tests."""

from __future__ import annotations

from typing import Any, TypeVar

from qtpy.QtWidgets import QApplication, QWidget

PATIENCE_MS = 30_000
"""Timeout, below `worker.REREAD_INTERVAL_S`: a change seen by then was noticed, not reread by chance."""

T = TypeVar("T", bound=QWidget)


def shown(kind: type[T]) -> list[T]:
    """Return the visible windows of a class; closed ones of earlier tests may still exist."""
    windows: list[Any] = QApplication.topLevelWidgets()
    return [one for one in windows if isinstance(one, kind) and one.isVisible()]
