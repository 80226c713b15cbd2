"""What `attach` makes, once for each process: a session, and an indicator in each window."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from napari_update_hook.plugin.session import Session
from napari_update_hook.plugin.worker import Worker


class PluginInstance:
    """One session with all viewers that it was attached to. Keeps no strong reference to viewers and windows.

    The base class of both packages'.
    """

    session: Any

    def __init__(self, session: Worker | None = None) -> None:
        self.session = session or Session()
        self._gui: Any = None
        self.has_ended = False

    def add(self, viewer: Any) -> None:
        """Add a viewer, and start the session; nothing under pytest. May be called again for the same one.

        Thread-safe: re-posts itself to the GUI thread.
        """
        if "PYTEST_VERSION" in os.environ:  # no one is there, and a test of others would find our threads
            return
        if has_qt_application() and posted_to_gui_thread(lambda: self.add(viewer)):
            return
        viewer = getattr(viewer, "__wrapped__", viewer)  # a plugin's widget is handed a proxy
        if (gui := self.gui()) is not None:
            gui.show_in(viewer)
        self.added(viewer)
        self.session.start()

    def added(self, viewer: Any) -> None:
        """Do what else there is to do with a viewer, on the GUI thread."""
        self.session.attach_telemetry(viewer)

    def gui(self) -> Any:
        """Return the windows of this process, a `plugin.qt.gui.WindowGui`, or None where no Qt application runs."""
        if self._gui is None and has_qt_application():
            self._gui = self.make_gui()
            self._gui.when_closed = self.end  # nothing outlives the last viewer
        return self._gui

    def make_gui(self) -> Any:
        """Return the windows. Imports Qt."""
        from napari_update_hook.plugin.qt.gui import Gui

        return Gui(self.session)

    def end(self) -> None:
        """Stop checking and drawing, for good: another viewer gets another instance."""
        self.has_ended = True
        self.session.stop()
        if self._gui is not None:
            self._gui.end()


_instance: PluginInstance | None = None


def get_instance() -> PluginInstance:
    """Return the process-wide instance."""
    global _instance
    if _instance is None or _instance.has_ended:
        _instance = PluginInstance()
    return _instance


def posted_to_gui_thread(work: Callable[[], None]) -> bool:
    """Post work to the GUI thread if another one calls; return whether that was so."""
    from qtpy.QtCore import QThread
    from qtpy.QtWidgets import QApplication

    application = QApplication.instance()
    if application is None or QThread.currentThread() == application.thread():
        return False
    from superqt.utils import ensure_main_thread  # which napari brings

    ensure_main_thread(work)()
    return True


def has_qt_application() -> bool:
    """Whether a Qt application runs. Where no one imported Qt, none does."""
    if "qtpy" not in sys.modules:
        return False
    try:
        from qtpy.QtWidgets import QApplication
    except ImportError:  # a Qt that cannot be loaded
        return False
    return QApplication.instance() is not None
