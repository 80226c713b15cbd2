"""One instance per process: a session, and an indicator in each window."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from napari_update_hook.plugin.session import Session
from napari_update_hook.plugin.worker import Worker


class PluginInstance:
    """The session and its viewers, held weakly. Base class for both packages."""

    session: Any

    def __init__(self, session: Worker | None = None) -> None:
        self.session = session or Session()
        self._gui: Any = None
        self.has_ended = False

    def add(self, viewer: Any) -> None:
        """Add a viewer and start the session; under pytest, do nothing. Idempotent.

        Thread-safe: re-posts itself to the GUI thread.
        """
        if "PYTEST_VERSION" in os.environ:  # tests of other plugins may check for leaked threads
            return
        if has_qt_application() and post_to_gui_thread(lambda: self.add(viewer)):
            return
        viewer = getattr(viewer, "__wrapped__", viewer)  # napari passes widgets a proxy of the viewer
        if (gui := self.gui()) is not None:
            gui.show_in(viewer)
        self.on_viewer_added(viewer)
        self.session.start()

    def on_viewer_added(self, viewer: Any) -> None:
        """Attach telemetry to the new viewer. Called on the GUI thread; subclasses may override it."""
        self.session.attach_telemetry(viewer)

    def gui(self) -> Any:
        """Return the `plugin.qt.gui.WindowGui`, or None without a Qt application."""
        if self._gui is None and has_qt_application():
            self._gui = self.make_gui()
            self._gui.on_last_window_closed = self.end
        return self._gui

    def make_gui(self) -> Any:
        """Create the GUI. Imports Qt."""
        from napari_update_hook.plugin.qt.gui import Gui

        return Gui(self.session)

    def end(self) -> None:
        """Stop for good; the next viewer gets a new instance."""
        self.has_ended = True
        self.session.stop()
        if self._gui is not None:
            self._gui.end()


_instance: PluginInstance | None = None


def get_instance() -> PluginInstance:
    global _instance
    if _instance is None or _instance.has_ended:
        _instance = PluginInstance()
    return _instance


def post_to_gui_thread(work: Callable[[], None]) -> bool:
    """Post work to the GUI thread, unless called on it; return whether it was posted."""
    from qtpy.QtCore import QThread
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance()
    if application is None or QThread.currentThread() == application.thread():
        return False
    from superqt.utils import ensure_main_thread  # a dependency of napari

    ensure_main_thread(work)()
    return True


def has_qt_application() -> bool:
    """Return whether a Qt application is running. Does not import Qt."""
    if "qtpy" not in sys.modules:
        return False
    try:
        from qtpy.QtWidgets import QApplication
    except ImportError:  # broken Qt installation
        return False
    return QApplication.instance() is not None
