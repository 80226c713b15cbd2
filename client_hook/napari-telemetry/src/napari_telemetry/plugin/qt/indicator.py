"""The indicator of telemetry in the status bar: level and state; a click opens the panel."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QToolButton, QWidget

from napari_telemetry.plugin.qt.quiet import quiet
from napari_telemetry.plugin.snapshot import Snapshot
from napari_telemetry.plugin.view import indicator_of

if TYPE_CHECKING:
    from napari_telemetry.plugin.qt.gui import Gui


class IndicatorButton(QToolButton):
    """Draws `view.indicator_of`. Hidden until something is known."""

    def __init__(self, gui: Gui, viewer: Any, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("napari-telemetry-indicator")
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.setAutoRaise(True)
        self.setVisible(False)
        self.viewer = weakref.ref(viewer)
        self._gui = gui
        self.clicked.connect(self._on_clicked)
        gui.changed.connect(self._on_changed)

    def _on_changed(self) -> None:
        self.draw(self._gui.session.snapshot)

    @quiet
    def draw(self, snapshot: Snapshot) -> None:
        """Show how everything stands."""
        shown = indicator_of(snapshot)
        self.setVisible(shown is not None)
        if shown is not None:
            self.setText(("\N{WARNING SIGN} " if shown.is_alert else "") + shown.text)
            self.setToolTip(shown.tooltip)
            self.setAccessibleName(shown.text)
            self.setAccessibleDescription(shown.tooltip)

    def _on_clicked(self) -> None:
        viewer = self.viewer()
        if viewer is not None:
            self._gui.open_panel(viewer)
