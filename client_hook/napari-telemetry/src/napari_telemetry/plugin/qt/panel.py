"""The dock widget "Telemetry". Opening it attaches this package for this run of napari, and the update check with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QDockWidget, QLabel, QVBoxLayout, QWidget

from napari_telemetry.plugin.qt.quiet import quiet
from napari_telemetry.plugin.snapshot import Snapshot
from napari_telemetry.plugin.texts import tr

if TYPE_CHECKING:
    import napari


class Panel(QWidget):
    """The page of telemetry. ``napari_viewer``: handed in by napari."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        import napari_update_hook

        from napari_telemetry.plugin import attach
        from napari_telemetry.plugin.attachment import attachment

        napari_update_hook.attach(napari_viewer)  # reports go with its checks
        attach(napari_viewer)
        self.setObjectName("napari-telemetry-panel")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        gui = attachment().gui()
        if gui is None:
            layout.addWidget(QLabel(tr("This needs napari's window.")))
            return
        from napari_telemetry.plugin.qt.telemetry_page import TelemetryPage

        self.telemetry = TelemetryPage(gui, self)
        layout.addWidget(self.telemetry)
        self._session = gui.session
        gui.changed.connect(self._on_changed)
        self.draw(gui.session.snapshot)
        gui.session.refresh()

    def _on_changed(self) -> None:
        self.draw(self._session.snapshot)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - the name that Qt wants
        """Make the preview, which is made only while it can be seen."""
        super().showEvent(event)
        if hasattr(self, "telemetry"):
            self._on_changed()

    @quiet
    def draw(self, snapshot: Snapshot) -> None:
        """Show the snapshot."""
        self.telemetry.draw(snapshot)

    def bring_to_front(self) -> None:
        """Show the dock that holds this, above others, with the keyboard in it."""
        dock = self.parentWidget()
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parentWidget()
        if dock is not None:
            dock.show()
            dock.raise_()
        self._session.refresh()
        self.telemetry.setFocus()
