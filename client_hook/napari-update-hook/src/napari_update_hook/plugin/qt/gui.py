"""The GUI: passes snapshots to the GUI thread, and shows an indicator in each window."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtCore import Signal as _Signal  # type: ignore[attr-defined]  # qtpy makes it at run time
from qtpy.QtWidgets import QApplication, QDockWidget, QMainWindow, QWidget

from napari_update_hook.plugin.qt.indicator import IndicatorButton, StatusButton
from napari_update_hook.plugin.qt.log_exceptions import log_exceptions
from napari_update_hook.plugin.view import Indicator, indicator_of, notice_text

if TYPE_CHECKING:
    import threading

    from napari_update_hook.plugin.runner import Log, Runner
    from napari_update_hook.plugin.session import Session, Snapshot
    from napari_update_hook.updates import UpdateRow

Action = tuple[str, Callable[[], object]]
BUSY_RETRY_MS = 2_000
"""Milliseconds to wait before retrying a notification or prompt while the user is busy."""


class WindowGui(QObject):
    """Shows a session in every window. Base class for both packages."""

    PLUGIN = ""
    WIDGET = ""
    BUTTON: type[StatusButton] = StatusButton

    changed = _Signal(object)
    """Emitted with each new snapshot. Queued signals may be stale, so slots read ``session.snapshot``."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session = session
        self.has_ended = False
        self.on_last_window_closed: Callable[[], object] = lambda: None
        """Called after the last attached window was closed."""
        self._windows = 0
        session.subscribe(self.changed.emit)  # on the session's thread, so Qt queues the signal

    def indicator(self) -> Indicator | None:
        raise NotImplementedError

    def panel_type(self) -> type[QWidget]:
        """Return the class of the widget that the indicator opens; its argument is the viewer."""
        raise NotImplementedError

    def show_in(self, viewer: Any) -> None:
        window = self.window_of(viewer)
        bar = window.statusBar() if window is not None else None
        if window is not None and bar is not None and self.indicator_in(window) is None:
            indicator = self.BUTTON(self, viewer, window)
            bar.addPermanentWidget(indicator)
            indicator.draw()
            self._windows += 1
            indicator.destroyed.connect(self._on_window_destroyed)

    def end(self) -> None:
        self.has_ended = True
        with contextlib.suppress(TypeError, RuntimeError):  # already disconnected
            self.changed.disconnect()

    @log_exceptions
    def _on_window_destroyed(self, *_: object) -> None:
        self._windows -= 1
        if self._windows == 0 and not self.has_ended:
            self.on_last_window_closed()

    def open_panel(self, viewer: Any) -> None:
        if (window := self.window_of(viewer)) is None:
            return
        kind = self.panel_type()
        panel = window.findChild(kind)
        if panel is None:
            try:
                viewer.window.add_plugin_dock_widget(self.PLUGIN, self.WIDGET)
            except Exception:  # the plugin is disabled in napari, but was attached by the launcher or a script
                viewer.window.add_dock_widget(kind(viewer), name=self.WIDGET)
            panel = window.findChild(kind)
        dock = panel.parentWidget() if panel is not None else None
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parentWidget()
        if dock is not None:
            dock.show()
            dock.raise_()
        if panel is not None:
            self.session.refresh()
            panel.setFocus()

    def indicator_in(self, window: QMainWindow) -> StatusButton | None:
        """Return a window's indicator. Search only the status bar; searching the whole window would take milliseconds."""
        bar = window.statusBar()
        return bar.findChild(self.BUTTON) if bar is not None else None

    def window_of(self, viewer: Any) -> QMainWindow | None:
        """Return a viewer's main window. napari has no public API for it, so fall back to Qt."""
        window = getattr(getattr(viewer, "window", None), "_qt_window", None)
        if isinstance(window, QMainWindow):
            return window
        without = [found for found in napari_windows() if self.indicator_in(found) is None]
        return without[0] if len(without) == 1 else None

    def front_window(self) -> QMainWindow | None:
        attached = [one for one in napari_windows() if one.isVisible() and self.indicator_in(one) is not None]
        return next((one for one in attached if one is QApplication.activeWindow()), attached[0] if attached else None)

    def viewer_in(self, window: Any) -> Any:
        indicator = self.indicator_in(window)
        return indicator.viewer() if indicator is not None else None

    def is_busy(self) -> bool:
        """Return whether the user is busy: a mouse button is pressed, a dialog or menu is open, or napari is working."""
        if QApplication.mouseButtons() != Qt.MouseButton.NoButton:
            return True
        if QApplication.activeModalWidget() is not None or QApplication.activePopupWidget() is not None:
            return True
        from napari.utils.progress import progress

        viewers = [viewer for window in napari_windows() if (viewer := self.viewer_in(window)) is not None]
        is_loading = any(not getattr(layer, "loaded", True) for viewer in viewers for layer in viewer.layers)
        return is_loading or bool(getattr(progress, "_all_instances", ()))

    def notify(self, text: str, *actions: Action, severity: str = "info") -> None:
        from napari.utils.notifications import Notification, notification_manager

        # napari displays the source, which defaults to the repr of its notification manager
        kind = type("Notice", (Notification,), {"source": self.PLUGIN})
        buttons: Sequence[Any] = [(name, lambda *_, act=act: act()) for name, act in actions]
        notification_manager.dispatch(kind(text, severity=severity, actions=buttons))


class Gui(WindowGui):
    PLUGIN = "napari-update-hook"
    WIDGET = "Plugin updates"
    BUTTON = IndicatorButton

    updates_found = _Signal(object)
    telemetry_installed = _Signal()
    posted = _Signal(object)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._updates: list[UpdateRow] = []
        self._guard = _CloseGuard(self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(BUSY_RETRY_MS)
        self._timer.timeout.connect(self._notify_when_idle)
        session.make_runner = self._make_runner
        self.updates_found.connect(self._notify)
        self.posted.connect(lambda work: work())
        self.changed.connect(self._offer)
        self.changed.connect(self._guard.watch_windows)
        self.telemetry_installed.connect(self._ask)
        session.on_updates(self.updates_found.emit)

    def indicator(self) -> Indicator | None:
        return indicator_of(self.session.snapshot)

    def panel_type(self) -> type[QWidget]:
        from napari_update_hook.plugin.qt.panel import Panel

        return Panel

    def end(self) -> None:
        super().end()
        self._timer.stop()

    def _make_runner(self, log: Log, cancelled: threading.Event) -> Runner:
        """Return a runner that uses the plugin manager's queue, or else a child process.

        Called on the session's thread, because the import takes a second.
        """
        try:
            from napari_update_hook.plugin.qt.queue_runner import QueueRunner
        except Exception:  # missing or incompatible
            from napari_update_hook.plugin.runner import Runner

            return Runner(log, cancelled)
        return QueueRunner(log, cancelled, partial(self.session.call, self.posted.emit))

    @log_exceptions
    def _notify(self, rows: list[UpdateRow]) -> None:
        self._updates = rows
        self._notify_when_idle()

    @log_exceptions
    def _notify_when_idle(self) -> None:
        """Notify unless a panel is visible; wait while the user is busy."""
        panels = [panel for one in napari_windows() if (panel := one.findChild(self.panel_type())) is not None]
        if self.has_ended or any(panel.isVisible() for panel in panels):
            return
        if self.is_busy():
            self._timer.start()
            return
        self.notify(notice_text(self._updates), ("Show updates", self._show_updates))

    @log_exceptions
    def _show_updates(self) -> None:
        window = self.front_window()
        if window is not None and (indicator := self.indicator_in(window)) is not None:
            indicator.open_panel()

    @log_exceptions
    def _offer(self, _: Snapshot) -> None:
        """Show the message about usage reports, once per environment (see `offer`)."""
        from napari_update_hook.offer import MESSAGE, NO_THANKS, WHAT_IS_THIS

        if self.has_ended or not self.session.snapshot.offers_telemetry or self.front_window() is None:
            return
        if self.session.claim_offer():
            self.notify(MESSAGE, (WHAT_IS_THIS, self.explain_telemetry), (NO_THANKS, self.session.decline_telemetry))

    @log_exceptions
    def explain_telemetry(self) -> None:
        from napari_update_hook.plugin.qt.offer_dialog import OfferDialog

        if (window := self.front_window()) is not None:
            OfferDialog(self, window).open()

    @log_exceptions
    def _ask(self) -> None:
        from napari_update_hook import seam

        if (window := self.front_window()) is not None:
            seam.ask(self.viewer_in(window))


class _CloseGuard(QObject):
    """Keeps napari open, and blocks the plugin manager, during an installation."""

    def __init__(self, gui: Gui) -> None:
        super().__init__(gui)
        self._gui = gui
        self._timer = QTimer(self)  # windows may open while the tool prints nothing
        self._timer.setInterval(250)
        self._timer.timeout.connect(self.watch_windows)

    @log_exceptions
    def watch_windows(self, *_: object) -> None:
        """Filter the events of all windows, and disable the plugin manager, during an installation."""
        is_changing = self._gui.session.snapshot.is_changing
        if not is_changing and not self._timer.isActive():
            return
        if not is_changing:
            self._timer.stop()
        elif not self._timer.isActive():
            self._timer.start()
        for window in QApplication.topLevelWidgets():
            if type(window).__name__ == "QtPluginDialog":
                window.setEnabled(not is_changing)
        for window in napari_windows():
            window.removeEventFilter(self)
            if is_changing:
                window.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Ignore a close event, unless a script already closed the canvas."""
        if event is None or event.type() != QEvent.Type.Close or not isinstance(watched, QMainWindow):
            return False
        centre = watched.centralWidget()
        is_closed = centre is None or not any(one.isVisible() for one in centre.findChildren(QWidget))
        if is_closed or not self._gui.session.snapshot.is_changing:
            return False
        event.ignore()
        self._gui.notify(
            "Plugins are being updated. Closing napari now could break them. Wait until the update is done.",
            severity="warning",
        )
        return True


def napari_windows() -> list[QMainWindow]:
    windows = QApplication.topLevelWidgets()
    return [one for one in windows if isinstance(one, QMainWindow) and type(one).__module__.startswith("napari.")]
