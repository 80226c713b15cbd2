"""The dialog that explains usage reports and installs their package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_update_hook import offer
from napari_update_hook.plugin.qt.log_exceptions import log_exceptions

if TYPE_CHECKING:
    from napari_update_hook.plugin.qt.gui import Gui


WIDTH = 540


class OfferDialog(QDialog):
    def __init__(self, gui: Gui, parent: QWidget) -> None:
        super().__init__(parent)
        self._gui = gui
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("Usage reports")
        self.setObjectName("napari-update-hook-offer")
        layout = QVBoxLayout(self)
        for text in (*offer.EXPLANATION, offer.DOWNLOAD_NOTICE if offer.OWNS_PACKAGE_NAME else offer.NOT_YET):
            label = QLabel(text, self)
            label.setWordWrap(True)
            layout.addWidget(label)
        self.progress = QLabel(self)
        self.progress.setWordWrap(True)
        self.progress.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(self.progress)
        row = QHBoxLayout()
        self.install = QPushButton(offer.INSTALL, self)
        self.install.setVisible(offer.OWNS_PACKAGE_NAME)
        self.install.clicked.connect(self._install)
        self.decline = QPushButton(offer.NO_THANKS, self)
        self.decline.clicked.connect(self._decline)
        for button in (self.install, self.decline):
            button.setAutoDefault(False)
            row.addWidget(button, 1)
        layout.addLayout(row)
        self.resize(WIDTH, layout.totalHeightForWidth(WIDTH))
        gui.telemetry_installed.connect(self.accept)
        gui.changed.connect(self._on_changed)

    @log_exceptions
    def _on_changed(self, *_: object) -> None:
        task = self._gui.session.snapshot.task
        self.progress.setText(task.outcome or task.title if task is not None else "")
        self.install.setEnabled(task is None or not task.is_running)

    def _install(self) -> None:
        self._gui.session.install_telemetry(self._gui.telemetry_installed.emit)  # on a thread, so Qt queues it

    def _decline(self) -> None:
        self._gui.session.decline_telemetry()
        self.reject()
