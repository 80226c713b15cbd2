"""Shows a status indicator in each window, and the consent dialog when a prompt is due."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from napari_update_hook.plugin.qt.gui import BUSY_RETRY_MS, WindowGui
from napari_update_hook.plugin.qt.indicator import StatusButton
from napari_update_hook.plugin.qt.log_exceptions import log_exceptions
from napari_update_hook.plugin.view import Indicator
from qtpy.QtCore import QTimer
from qtpy.QtCore import Signal as _Signal  # type: ignore[attr-defined]  # qtpy makes it at run time
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from napari_telemetry.plugin.instance import PluginInstance

ASK_AFTER_MS = 8_000


class TelemetryButton(StatusButton):
    """The indicator of the telemetry status."""


class Gui(WindowGui):
    """The telemetry GUI of all windows."""

    """The telemetry GUI of all windows."""

    PLUGIN = "napari-telemetry"
    WIDGET = "Telemetry"
    BUTTON = TelemetryButton

    prepared = _Signal(bool)
    """Emitted when the dialog can be shown. Argument: whether the user requested it."""
    reported = _Signal(str)
    """Emitted with a message for the user."""

    def __init__(self, instance: PluginInstance) -> None:
        self._instance = instance
        super().__init__(instance.session)
        self._dialog: weakref.ref[Any] | None = None
        self._reported: list[str] = []
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._ask_when_idle)
        self.changed.connect(self._follow)
        self.prepared.connect(self._show_dialog)
        self.reported.connect(self._report)

    def indicator(self) -> Indicator | None:
        from napari_telemetry import words

        snapshot = self.session.snapshot
        if snapshot.status is None:
            return Indicator("telemetry: off", snapshot.problem, is_alert=True) if snapshot.problem else None
        text = f"telemetry: {words.short_state(snapshot.status)}" + (", sending" if "send" in snapshot.busy else "")
        problem = snapshot.status.problem
        tips = [words.sentence(snapshot.status), *([problem] if problem else []), "Click for details."]
        return Indicator(text, "\n".join(tips), is_alert=problem is not None)

    def panel_type(self) -> type[QWidget]:
        from napari_telemetry.plugin.qt.page import Panel

        return Panel

    def ask(self, *, requested: bool = True) -> None:
        """Show the consent dialog. If the user has not ``requested`` it, show it only if a prompt is due."""
        self.session.prepare_dialog(lambda: self.prepared.emit(requested), requested=requested)

    def end(self) -> None:
        super().end()
        self._timer.stop()

    @log_exceptions
    def _follow(self, *_: object) -> None:
        snapshot = self.session.snapshot
        if self.has_ended:
            return
        self._instance.follow(snapshot)
        is_due = snapshot.status is not None and snapshot.status.is_prompt_due
        if is_due and not self._timer.isActive():
            self._timer.start(ASK_AFTER_MS)
        elif not is_due:
            self._timer.stop()
        told = {"answer": "Your choice could not be saved.", "removal": "napari-telemetry could not be removed."}
        failures = [f"{text} {snapshot.failures[name]}" for name, text in told.items() if name in snapshot.failures]
        for failure in failures:
            if failure not in self._reported:
                self.notify(failure, severity="warning")
        self._reported = failures

    @log_exceptions
    def _ask_when_idle(self) -> None:
        if self.front_window() is None or self.is_busy():
            self._timer.start(BUSY_RETRY_MS)
        else:
            self.ask(requested=False)

    @log_exceptions
    def _show_dialog(self, requested: bool) -> None:
        from napari_telemetry.plugin.qt.consent_dialog import ConsentDialog

        window = self.front_window()
        if self.has_ended or window is None:
            return
        dialog = self._dialog() if self._dialog is not None else None
        if dialog is not None:
            dialog.raise_()
            return
        dialog = ConsentDialog(self, window, requested=requested)
        self._dialog = weakref.ref(dialog)
        dialog.finished.connect(self._forget_dialog)
        dialog.open()  # does not block

    @log_exceptions
    def _report(self, text: str) -> None:
        self.notify(text)

    def _forget_dialog(self) -> None:
        self._dialog = None
