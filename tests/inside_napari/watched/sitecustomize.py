"""Run inside a napari process under test: report on it, then close it. Import neither package."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _watch(report: Path, seconds: float, wanted: str) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends and _application() is None:
        time.sleep(0.1)
    look = _look_of_gui_thread()
    seen = look()
    while time.monotonic() < ends and not seen["windows"]:
        time.sleep(0.1)
        seen = look()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not (wanted and _say_all(wanted, seen)):
        time.sleep(0.1)
        seen = look()
    ours = sorted(name for name in sys.modules if name.startswith(("napari_update_hook", "napari_telemetry")))
    report.write_text(json.dumps({"ours": ours, **seen}), "utf-8")
    from qtpy.QtCore import QMetaObject, Qt

    for slot in ("closeAllWindows", "quit"):
        QMetaObject.invokeMethod(_application(), slot, Qt.ConnectionType.QueuedConnection)


def _say_all(wanted: str, seen: dict[str, Any]) -> bool:
    return len(seen["indicators"]) == seen["windows"] and all(wanted in text for text in seen["indicators"])


def _application() -> Any:
    widgets = sys.modules.get("qtpy.QtWidgets")
    kind = getattr(widgets, "QApplication", None)
    return kind.instance() if kind is not None else None


def _look_of_gui_thread() -> Callable[[], dict[str, Any]]:
    """Return a function that inspects widgets on the GUI thread; no other thread may."""
    from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]  # qtpy defines it at run time

    class Look(QObject):
        asked = Signal()

        def __init__(self) -> None:
            super().__init__()
            self.seen: dict[str, Any] = {"windows": 0, "indicators": []}
            self.done = threading.Event()

        def look(self) -> None:
            self.seen = _seen()
            self.done.set()

    one = Look()
    one.moveToThread(_application().thread())
    one.asked.connect(one.look)

    def look() -> dict[str, Any]:
        one.done.clear()
        one.asked.emit()
        one.done.wait(20)
        return one.seen

    return look


def _seen() -> dict[str, Any]:
    from qtpy.QtWidgets import QApplication, QMainWindow, QToolButton

    windows = [one for one in QApplication.topLevelWidgets() if isinstance(one, QMainWindow) and one.isVisible()]
    buttons = [button for window in windows for button in window.statusBar().findChildren(QToolButton)]
    texts = [one.text() for one in buttons if one.objectName() == "napari-update-hook-indicator" and one.text()]
    return {"windows": len(windows), "indicators": texts}


if os.environ.get("WATCH_REPORT"):
    threading.Thread(
        target=_watch,
        args=(Path(os.environ["WATCH_REPORT"]), float(os.environ["WATCH_SECONDS"]), os.environ["WATCH_WANTED"]),
        daemon=True,
    ).start()
