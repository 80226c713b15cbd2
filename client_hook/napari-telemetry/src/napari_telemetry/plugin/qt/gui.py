"""Brings snapshots to the GUI thread, and puts a view into each window."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtCore import Signal as _Signal  # type: ignore[attr-defined]  # qtpy makes it at run time
from qtpy.QtWidgets import QApplication, QDialog, QMainWindow

from napari_telemetry.plugin.preferences import Preferences
from napari_telemetry.plugin.qt.indicator import IndicatorButton
from napari_telemetry.plugin.qt.quiet import quiet
from napari_telemetry.plugin.snapshot import Snapshot, Task

if TYPE_CHECKING:
    from napari_telemetry.asking import Question
    from napari_telemetry.plugin.attachment import Attachment

ASK_AFTER_MS = 8_000
ASK_WHEN_IDLE_MS = 2_000
LOOK_AT_PREFERENCES_MS = 1_000
PLUGIN = "napari-telemetry"
WIDGET = "Telemetry"


class Gui(QObject):
    """Everything that is drawn by one attachment. Lives in the GUI thread."""

    changed = _Signal(object)
    """A new `Snapshot`. One that the GUI thread publishes overtakes those that wait, so what is drawn is the session's."""
    question_ready = _Signal(object, bool, str)
    """A `Question` can be shown, or None where the last answer holds; whether a person wants to, and which level they chose."""

    def __init__(self, attachment: Attachment) -> None:
        super().__init__()
        self.attachment = attachment
        self.session = attachment.session
        self._dialog: weakref.ref[Any] | None = None
        self._is_asking = False
        self._told_failure: str | None = None
        self._put_off: Question | None = None
        self._has_ended = False
        self._preferences = Preferences(self.session, _when_preferences_are_closed, self.ask)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._ask_when_idle)
        self.changed.connect(self._follow)
        self.question_ready.connect(self._show_question)
        self.session.subscribe(self.changed.emit)  # from a thread: Qt queues it
        self._look = QTimer(self)  # napari has no signal for its Preferences being opened
        self._look.timeout.connect(self._follow_preferences)
        self._look.start(LOOK_AT_PREFERENCES_MS)

    def show_in(self, viewer: Any) -> None:
        """Put an indicator into the window of a viewer, if it has one and lacks it."""
        window = _window_of(viewer)
        bar = window.statusBar() if window is not None else None
        if window is not None and bar is not None and _indicator_of(window) is None:
            indicator = IndicatorButton(self, viewer, window)
            bar.addPermanentWidget(indicator)
            indicator.draw(self.session.snapshot)

    def end(self) -> None:
        """Draw and ask no more, nor what a thread still has in hand, or has handed to Qt, which delivers it all the same."""
        if self._has_ended:
            return
        self._has_ended = True
        for signal in (self.changed, self.question_ready):
            with contextlib.suppress(TypeError, RuntimeError):  # nothing is connected any more
                signal.disconnect()
        for timer in (self._timer, self._look):
            timer.stop()
        self._preferences.end()

    def ask(self, level: str = "") -> None:
        """Put the question because a person wants to answer it. ``level``: the one that they chose already."""
        self.session.put_question(lambda question: self.question_ready.emit(question, True, level), by_hand=True)

    def open_panel(self, viewer: Any) -> None:
        """Show the panel in the window of ``viewer``, and bring it to the front."""
        from napari_telemetry.plugin.qt.panel import Panel

        window = _window_of(viewer)
        if window is None:
            return
        panel = window.findChild(Panel)
        if panel is None:
            try:
                viewer.window.add_plugin_dock_widget(PLUGIN, WIDGET)
            except Exception:  # the plugin is disabled, and was started all the same: by the launcher or a script
                viewer.window.add_dock_widget(Panel(viewer), name=WIDGET)
            panel = window.findChild(Panel)
        if panel is not None:
            panel.bring_to_front()

    def _follow(self, snapshot: Snapshot) -> None:
        """Do what follows from a snapshot. Each part is quiet by itself: where one fails, the others go on."""
        if self._has_ended:
            return
        self._count(self.session.snapshot)
        self._plan_question(self.session.snapshot)
        self._tell_failure(snapshot.failures.get(Task.ANSWER) or snapshot.failures.get(Task.QUESTION))
        self._follow_preferences()

    @quiet
    def _count(self, snapshot: Snapshot) -> None:
        self.attachment.follow(snapshot)

    @quiet
    def _plan_question(self, snapshot: Snapshot) -> None:
        status = snapshot.status
        is_due = status is not None and status.question is not None and snapshot.takes_reports is True
        if is_due and not self._is_asking and not self._timer.isActive():
            self._timer.start(ASK_AFTER_MS)
        elif not is_due and self._put_off is None:
            self._timer.stop()

    @quiet
    def _follow_preferences(self) -> None:
        self._preferences.follow(self.session.snapshot)

    @quiet
    def _ask_when_idle(self) -> None:
        if self._has_ended:
            return
        self._timer.start(ASK_WHEN_IDLE_MS)  # whatever happens here; a window may just be going away
        if _main_window() is None or _is_busy():
            return
        if self._is_asking:
            if self._put_off is not None:
                self._show_question(self._put_off, False, "")
            else:
                self._timer.stop()
        else:
            self._is_asking = True
            self._timer.stop()
            self.session.put_question(lambda question: self.question_ready.emit(question, False, ""))

    @quiet
    def _show_question(self, question: Question | None, by_hand: bool, level: str) -> None:
        from napari_telemetry.plugin.qt.question import QuestionDialog

        if self._has_ended:
            return
        window = _main_window()
        if not by_hand and self._still_stands(question):
            self._put_off = question
            self._timer.start(ASK_WHEN_IDLE_MS)  # whatever happens here
            if window is None or _is_busy():  # since it was asked for
                return
        elif not by_hand:
            self._drop_question()
            return
        open_already = self._dialog() if self._dialog is not None else None
        if open_already is not None:
            open_already.raise_()
        elif window is not None:
            dialog = QuestionDialog(self.session, window, question, by_hand=by_hand, level=level)
            self._dialog = weakref.ref(dialog)
            dialog.finished.connect(self._question_closed)
            dialog.open()  # does not block
        self._drop_question()

    def _still_stands(self, question: Question | None) -> bool:
        """Whether what a question was put for is still so: nobody has answered meanwhile, nor switched telemetry off."""
        status = self.session.snapshot.status
        if question is None or status is None:
            return question is not None
        return status.switch is None and status.consent == question.before

    def _drop_question(self) -> None:
        """Have no question put that was put off: it was answered, or a person is being asked."""
        self._put_off = None
        if self._is_asking:
            self._timer.stop()

    def _question_closed(self) -> None:
        self._dialog = None

    @quiet
    def _tell_failure(self, failure: str | None) -> None:
        """Say that an answer was not recorded: whoever gave it believes that it was."""
        if failure is not None and failure != self._told_failure:
            from napari.utils.notifications import notification_manager

            notification_manager.dispatch(_notice(failure, "warning"))
        self._told_failure = failure


def _notice(text: str, severity: str, actions: Sequence[tuple[str, Callable[..., object]]] = ()) -> Any:
    """A notification of napari's. It shows a source, which is the representation of its own manager unless another is named."""
    from napari.utils.notifications import Notification

    kind = type("Notice", (Notification,), {"source": PLUGIN})
    return kind(text, severity=severity, actions=actions)


def _window_of(viewer: Any) -> QMainWindow | None:
    """The main window of a viewer. napari has no public way to it, so Qt is asked where the usual one fails."""
    window = getattr(getattr(viewer, "window", None), "_qt_window", None)
    if isinstance(window, QMainWindow):
        return window
    without = [found for found in _napari_windows() if _indicator_of(found) is None]
    return without[0] if len(without) == 1 else None


def _indicator_of(window: QMainWindow) -> IndicatorButton | None:
    bar = window.statusBar()  # a search of the whole window would take milliseconds
    return bar.findChild(IndicatorButton) if bar is not None else None


def _napari_windows() -> list[QMainWindow]:
    windows = QApplication.topLevelWidgets()
    return [one for one in windows if isinstance(one, QMainWindow) and type(one).__module__.startswith("napari.")]


def _main_window() -> QMainWindow | None:
    """The napari window that is in front, else one that is visible and attached."""
    attached = [one for one in _napari_windows() if one.isVisible() and _indicator_of(one) is not None]
    active = QApplication.activeWindow()
    return next((one for one in attached if one is active), attached[0] if attached else None)


def _when_preferences_are_closed(tell: Callable[[bool], None]) -> bool:
    """Call ``tell`` once napari's Preferences are closed, with whether they were accepted. False where they are not open."""
    for one in QApplication.topLevelWidgets():
        if type(one).__name__ == "PreferencesDialog" and isinstance(one, QDialog) and one.isVisible():
            one.finished.connect(lambda result: tell(result == int(QDialog.DialogCode.Accepted)))
            return True
    return False


def _is_busy() -> bool:
    """Whether a question would disturb: a mouse button is down, a dialog or a menu is open, or data is being loaded."""
    if QApplication.mouseButtons() != Qt.MouseButton.NoButton:
        return True
    if QApplication.activeModalWidget() is not None or QApplication.activePopupWidget() is not None:
        return True
    return any(_is_loading(window) for window in _napari_windows())


def _is_loading(window: QMainWindow) -> bool:
    """Whether a layer of the window is being loaded, or something shows its progress there."""
    from napari.utils.progress import progress

    if len(getattr(progress, "_all_instances", ())):
        return True
    indicator = _indicator_of(window)
    viewer = indicator.viewer() if indicator is not None else None
    return viewer is not None and any(not getattr(layer, "loaded", True) for layer in viewer.layers)
