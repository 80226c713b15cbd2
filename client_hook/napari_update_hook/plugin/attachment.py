"""What `attach` makes, once for each process: a session, counting, and a view in each window."""

from __future__ import annotations

import sys
from typing import Any

from napari_update_hook.plugin.counting import Counting
from napari_update_hook.plugin.session import Session
from napari_update_hook.plugin.snapshot import Snapshot


class Attachment:
    """One session with all viewers that it was attached to. Holds viewers and windows weakly."""

    def __init__(self, session: Session | None = None) -> None:
        self.session = session or Session()
        self.counting = Counting()
        self._gui: Any = None
        self._listens = False
        self._has_followed = False

    def add(self, viewer: Any) -> None:
        """Take a viewer in, and start what was not started yet. May be called again for the same one."""
        viewer = getattr(viewer, "__wrapped__", viewer)  # a plugin's widget is handed a proxy
        self.counting.add(viewer)
        gui = self.gui()
        if gui is not None:
            gui.show_in(viewer)
        self.session.start()

    def gui(self) -> Any:
        """Return the `plugin.qt.gui.Gui` of this process, or None where no Qt application runs."""
        if self._gui is None:
            if _has_qt_application():
                from napari_update_hook.plugin.qt.gui import Gui

                self._gui = Gui(self)
            elif not self._listens:
                self._listens = True
                self.session.subscribe(self.follow)
        return self._gui

    def follow(self, snapshot: Snapshot) -> None:
        """Count where level full is in force, and nowhere else."""
        if snapshot.status is None:
            return
        is_first, self._has_followed = not self._has_followed, True
        if snapshot.status.level.value == "full":
            self.counting.connect(present_layers=is_first)
        else:
            self.counting.disconnect()

    def end(self) -> None:
        """Count and check no more."""
        self.session.stop()
        self.counting.disconnect()
        if self._gui is not None:
            self._gui.end()


_attachment: Attachment | None = None


def attachment() -> Attachment:
    """Return the one of this process."""
    global _attachment
    if _attachment is None:
        _attachment = Attachment()
    return _attachment


def _has_qt_application() -> bool:
    """Whether a Qt application runs. Where nobody imported Qt, none does."""
    if "qtpy" not in sys.modules:
        return False
    try:
        from qtpy.QtWidgets import QApplication
    except ImportError:  # a Qt that can't be loaded
        return False
    return QApplication.instance() is not None
