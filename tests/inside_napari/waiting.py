"""Waiting in GUI tests."""

from __future__ import annotations

from typing import Any, TypeVar

from qtpy.QtWidgets import QApplication, QWidget

PATIENCE_MS = 30_000
"""Below `worker.REREAD_INTERVAL_S`: a change seen by then was noticed."""

T = TypeVar("T", bound=QWidget)


def shown(kind: type[T]) -> list[T]:
    """Closed windows of earlier tests may still exist."""
    windows: list[Any] = QApplication.topLevelWidgets()
    return [one for one in windows if isinstance(one, kind) and one.isVisible()]
