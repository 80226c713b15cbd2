"""Put on the path of a napari that a test starts: after a while it writes down what runs in it, and ends it.

It is a stranger to the package under test, and imports nothing of it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any


def _watch(report: Path, seconds: float, wanted: str) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends and not _windows():
        time.sleep(0.1)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not (wanted and all(wanted in text for text in _indicators() or [""])):
        time.sleep(0.1)
    ours = sorted(name for name in sys.modules if name.startswith("napari_update_hook"))
    report.write_text(json.dumps({"ours": ours, "windows": len(_windows()), "indicators": _indicators()}), "utf-8")
    from qtpy.QtCore import QMetaObject, Qt
    from qtpy.QtWidgets import QApplication

    QMetaObject.invokeMethod(QApplication.instance(), "closeAllWindows", Qt.ConnectionType.QueuedConnection)
    QMetaObject.invokeMethod(QApplication.instance(), "quit", Qt.ConnectionType.QueuedConnection)


def _windows() -> list[Any]:
    widgets = sys.modules.get("qtpy.QtWidgets")
    if widgets is None or getattr(widgets, "QApplication", None) is None or widgets.QApplication.instance() is None:
        return []
    shown = [one for one in widgets.QApplication.topLevelWidgets() if isinstance(one, widgets.QMainWindow)]
    return [one for one in shown if one.isVisible()]


def _indicators() -> list[str]:
    found = []
    for window in _windows():
        for button in window.statusBar().findChildren(sys.modules["qtpy.QtWidgets"].QToolButton):
            if button.objectName() == "napari-update-hook-indicator" and button.text():
                found.append(button.text())
    return found


if os.environ.get("WATCH_REPORT"):
    threading.Thread(
        target=_watch,
        args=(Path(os.environ["WATCH_REPORT"]), float(os.environ["WATCH_SECONDS"]), os.environ["WATCH_WANTED"]),
        daemon=True,
    ).start()
