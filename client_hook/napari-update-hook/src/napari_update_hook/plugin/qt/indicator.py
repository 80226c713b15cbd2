"""The status bar button that opens the panel."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QToolButton, QWidget

from napari_update_hook.plugin.qt.log_exceptions import log_exceptions

if TYPE_CHECKING:
    from napari_update_hook.plugin.qt.gui import WindowGui


class StatusButton(QToolButton):
    """A button that draws ``gui.indicator()``; hidden until there is a result."""

    def __init__(self, gui: WindowGui, viewer: Any, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName(f"{gui.PLUGIN}-indicator")
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.setAutoRaise(True)
        self.setVisible(False)
        self.viewer = weakref.ref(viewer)
        self._gui = gui
        self.clicked.connect(self.open_panel)
        gui.changed.connect(self.draw)

    @log_exceptions
    def draw(self, *_: object) -> None:
        """Draw the session's current state; the argument is ignored, because queued signals may be stale."""
        shown = self._gui.indicator()
        self.setVisible(shown is not None)
        if shown is not None:
            self.setText(("\N{WARNING SIGN} " if shown.is_alert else "") + shown.text)
            self.setToolTip(shown.tooltip)
            self.setAccessibleName(shown.text)
            self.setAccessibleDescription(shown.tooltip)

    def open_panel(self, *_: object) -> None:
        if (viewer := self.viewer()) is not None:
            self._gui.open_panel(viewer)


class IndicatorButton(StatusButton):
    """The button of the update check."""
