"""The dock widget "Updates and telemetry". Opening it attaches this package for this run of napari."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QDockWidget, QLabel, QTabWidget, QVBoxLayout, QWidget

from napari_telemetry.plugin.qt.quiet import quiet
from napari_telemetry.plugin.snapshot import Snapshot
from napari_telemetry.plugin.texts import tr

if TYPE_CHECKING:
    import napari

PAGES = ("updates", "telemetry")


class Panel(QWidget):
    """Two pages, updates first. ``napari_viewer``: handed in by napari."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        from napari_telemetry.plugin import attach
        from napari_telemetry.plugin.attachment import attachment

        attach(napari_viewer)
        self.setObjectName("napari-telemetry-panel")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        gui = attachment().gui()
        if gui is None:
            layout.addWidget(QLabel(tr("This needs napari's window.")))
            return
        from napari_telemetry.plugin.qt.telemetry_page import TelemetryPage
        from napari_telemetry.plugin.qt.updates_page import UpdatesPage

        self.updates = UpdatesPage(gui.session, self)
        self.telemetry = TelemetryPage(gui, self)
        self.pages = QTabWidget(self)
        self.pages.addTab(self.updates, tr("Updates"))
        self.pages.addTab(self.telemetry, tr("Telemetry"))
        self.pages.currentChanged.connect(self._on_changed)
        layout.addWidget(self.pages)
        self._session = gui.session
        gui.changed.connect(self._on_changed)
        self.draw(gui.session.snapshot)
        gui.session.refresh()

    def _on_changed(self) -> None:
        self.draw(self._session.snapshot)

    @quiet
    def draw(self, snapshot: Snapshot) -> None:
        """Show how everything stands."""
        self.updates.draw(snapshot)
        self.telemetry.draw(snapshot)

    def bring_to_front(self, page: str | None = None) -> None:
        """Show the dock that holds this, above others, with the keyboard in it."""
        if page is not None:
            self.pages.setCurrentIndex(PAGES.index(page))
        dock = self.parentWidget()
        while dock is not None and not isinstance(dock, QDockWidget):
            dock = dock.parentWidget()
        if dock is not None:
            dock.show()
            dock.raise_()
        self._session.refresh()
        self.pages.setFocus()
