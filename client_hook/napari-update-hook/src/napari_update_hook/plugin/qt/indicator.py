"""The indicator in the status bar: how many updates there are; a click opens the panel."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QToolButton, QWidget

from napari_update_hook.plugin.qt.log_exceptions import log_exceptions
from napari_update_hook.plugin.view import indicator_of

if TYPE_CHECKING:
    from napari_update_hook.plugin.qt.gui import Gui
    from napari_update_hook.plugin.session import Snapshot


class IndicatorButton(QToolButton):
    """Draws `view.indicator_of`. Hidden until something is known."""

    def __init__(self, gui: Gui, viewer: Any, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("napari-update-hook-indicator")
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.setAutoRaise(True)
        self.setVisible(False)
        self.viewer = weakref.ref(viewer)
        self._gui = gui
        self.clicked.connect(self.open_panel)
        gui.changed.connect(self._on_changed)

    def _on_changed(self) -> None:
        self.draw(self._gui.session.snapshot)

    @log_exceptions
    def draw(self, snapshot: Snapshot) -> None:
        """Show the snapshot."""
        shown = indicator_of(snapshot)
        self.setVisible(shown is not None)
        if shown is not None:
            self.setText(("\N{WARNING SIGN} " if shown.is_alert else "") + shown.text)
            self.setToolTip(shown.tooltip)
            self.setAccessibleName(shown.text)
            self.setAccessibleDescription(shown.tooltip)

    def open_panel(self, *_: object) -> None:
        """Show the panel in this window."""
        if (viewer := self.viewer()) is not None:
            self._gui.open_panel(viewer)
