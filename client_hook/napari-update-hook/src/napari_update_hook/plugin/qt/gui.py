"""Brings snapshots to the GUI thread, and puts an indicator into each window."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject
from qtpy.QtCore import Signal as _Signal  # type: ignore[attr-defined]  # qtpy makes it at run time
from qtpy.QtWidgets import QApplication, QMainWindow

from napari_update_hook.plugin.qt.indicator import IndicatorButton
from napari_update_hook.plugin.qt.log_exceptions import log_exceptions
from napari_update_hook.plugin.view import notice_text

if TYPE_CHECKING:
    from napari_update_hook.plugin.session import Session
    from napari_update_hook.updates import UpdateRow

PLUGIN = "napari-update-hook"
WIDGET = "Plugin updates"


class Gui(QObject):
    """Everything that is drawn for one session. Lives in the GUI thread."""

    changed = _Signal(object)
    """A new `Snapshot`. Queued signals may be stale, so slots read ``session.snapshot``."""
    updates_found = _Signal(object)
    """Rows of updates to notify of."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._has_ended = False
        self.updates_found.connect(self._notify)
        session.subscribe(self.changed.emit)  # from a thread: Qt queues it
        session.on_updates(self.updates_found.emit)

    def show_in(self, viewer: Any) -> None:
        """Put an indicator into the window of a viewer, if it has one and lacks it."""
        window = window_of(viewer)
        bar = window.statusBar() if window is not None else None
        if window is not None and bar is not None and indicator_in(window) is None:
            indicator = IndicatorButton(self, viewer, window)
            bar.addPermanentWidget(indicator)
            indicator.draw(self.session.snapshot)

    def end(self) -> None:
        """Disconnect everything; signals that are queued already are ignored."""
        self._has_ended = True
        for signal in (self.changed, self.updates_found):
            with contextlib.suppress(TypeError, RuntimeError):  # nothing is connected any more
                signal.disconnect()

    def open_panel(self, viewer: Any) -> None:
        """Show the panel in the window of ``viewer``, and bring it to the front."""
        from napari_update_hook.plugin.qt.panel import Panel

        if (window := window_of(viewer)) is None:
            return
        panel = window.findChild(Panel)
        if panel is None:
            try:
                viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
            except Exception:  # the plugin is disabled, and was started anyway: by the launcher or a script
                viewer.window.add_dock_widget(Panel(viewer), name=WIDGET)
            panel = window.findChild(Panel)
        if panel is not None:
            panel.bring_to_front()

    @log_exceptions
    def _notify(self, rows: list[UpdateRow]) -> None:
        """Show napari's own notification, with a button that opens the panel."""
        from napari.utils.notifications import Notification, notification_manager

        from napari_update_hook.plugin.qt.panel import Panel

        if self._has_ended or any(one.findChild(Panel) is not None for one in _napari_windows()):
            return  # the panel shows them already
        # napari shows the source of a notification, which is the representation of its own manager unless one is named
        kind = type("Notice", (Notification,), {"source": PLUGIN})
        actions = [("Show updates", lambda *_: self._show_updates())]
        notification_manager.dispatch(kind(notice_text(rows), severity="info", actions=actions))

    @log_exceptions
    def _show_updates(self) -> None:
        attached = [found for one in _napari_windows() if one.isVisible() and (found := indicator_in(one)) is not None]
        active = [one for one in attached if one.window() is QApplication.activeWindow()]
        for indicator in (active or attached)[:1]:
            indicator.open_panel()


def window_of(viewer: Any) -> QMainWindow | None:
    """The main window of a viewer. napari has no public way to it, so Qt is asked where the usual one fails."""
    window = getattr(getattr(viewer, "window", None), "_qt_window", None)
    if isinstance(window, QMainWindow):
        return window
    without = [found for found in _napari_windows() if indicator_in(found) is None]
    return without[0] if len(without) == 1 else None


def indicator_in(window: QMainWindow) -> IndicatorButton | None:
    """The indicator of a window. A search of the whole window would take milliseconds."""
    bar = window.statusBar()
    return bar.findChild(IndicatorButton) if bar is not None else None


def _napari_windows() -> list[QMainWindow]:
    windows = QApplication.topLevelWidgets()
    return [one for one in windows if isinstance(one, QMainWindow) and type(one).__module__.startswith("napari.")]
