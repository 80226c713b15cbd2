"""The consent dialog: four levels with equal prominence, in plain words, and the exact JSON one click away."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices, QFontDatabase, QKeyEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPlainTextEdit,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from napari_telemetry import words
from napari_telemetry.wire import MEANING, Level

if TYPE_CHECKING:
    from napari_telemetry.plugin.qt.gui import Gui

MEANS = "napari dialog"
WIDTH = 640
DURATIONS = {"until I change it": None, "for 90 days": timedelta(days=90), "for a year": timedelta(days=365)}


class ConsentDialog(QDialog):
    """Asks for a telemetry level. Closing it without an answer means "ask me later": nothing is sent.

    ``requested``: whether the user opened the dialog; closing it then changes nothing.
    """

    def __init__(self, gui: Gui, parent: QWidget, *, requested: bool = False) -> None:
        super().__init__(parent)
        self._gui = gui
        status = gui.session.snapshot.status
        assert status is not None
        self._service, self._takes_reports = status.settings.service, status.takes_reports
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(words.TITLE)
        self.setObjectName("napari-telemetry-consent")
        layout = QVBoxLayout(self)
        for text in words.introduction(self._service, status.prompt, self._takes_reports):
            layout.addWidget(_paragraph(text, self))
        self.levels = QButtonGroup(self)
        layout.addLayout(self._make_levels())
        self.about = _paragraph(words.ABOUT_EXAMPLES if self._takes_reports else words.NO_TABLE, self)
        self.example = QPlainTextEdit(self)
        self.example.setReadOnly(True)
        self.example.setTabChangesFocus(True)
        self.example.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        for widget, stretch in ((self.about, 0), (self.example, 1)):
            widget.setVisible(False)
            layout.addWidget(widget, stretch)
        layout.addLayout(self._make_links(status.settings.server))
        layout.addLayout(self._make_buttons(requested))
        self.levels.idClicked.connect(self._update_share_button)
        self._update_share_button()
        self.resize(WIDTH, layout.totalHeightForWidth(WIDTH))

    @property
    def level(self) -> Level | None:
        number = self.levels.checkedId()
        return list(Level)[number] if number >= 0 else None

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 - overrides a Qt method
        """Let Enter click only a focused button, to prevent accidental answers."""
        if event is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if isinstance(button := self.focusWidget(), QPushButton):
                button.click()
            return
        super().keyPressEvent(event)

    def show_example(self, level: Level) -> None:
        text = self._gui.session.snapshot.examples.get(level.value, MEANING[level])
        is_shown = self.example.isVisible() and self.example.toPlainText() == text
        self.example.setPlainText(text)
        self.example.setAccessibleName(f"What would be sent at level {level}")
        for widget in (self.about, self.example):
            widget.setVisible(not is_shown)
        if is_shown:
            self.adjustSize()
        else:
            self.resize(self.width(), min(560, self.sizeHint().height() + 180))

    def _make_levels(self) -> QGridLayout:
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        for number, level in enumerate(Level):
            choice = QRadioButton(level.value.capitalize(), self)
            choice.setAccessibleDescription(MEANING[level])
            self.levels.addButton(choice, number)
            meaning = _paragraph(MEANING[level], self)
            if questions := words.questions_of(level):
                meaning.setToolTip("\n".join(["Public questions that this level helps to answer:", *questions]))
            details = QPushButton("Show data", self)
            details.setAutoDefault(False)
            details.setAccessibleName(f"Show what would be sent at level {level}")
            details.clicked.connect(partial(self.show_example, level))
            for column, widget in enumerate((choice, meaning, details)):
                grid.addWidget(widget, number, column, Qt.AlignmentFlag.AlignTop)
        return grid

    def _make_links(self, server: str) -> QHBoxLayout:
        row = QHBoxLayout()
        for text, path in (("Public statistics", "dashboard"), ("What is stored, and how long", "privacy")):
            link = QPushButton(text, self)  # a link in a QLabel would be unreadable in a dark theme
            link.setFlat(True)
            link.setAutoDefault(False)
            link.setToolTip(f"{server}/{path}")
            link.setEnabled(self._takes_reports is True)
            link.clicked.connect(partial(_open_url, f"{server}/{path}"))
            row.addWidget(link)
        row.addStretch(1)
        row.addWidget(QLabel("Share", self))
        self.duration = QComboBox(self)
        self.duration.addItems(list(DURATIONS))
        self.duration.setAccessibleName("How long to share")
        row.addWidget(self.duration)
        return row

    def _make_buttons(self, requested: bool) -> QHBoxLayout:
        row = QHBoxLayout()
        self.share = QPushButton("&Share", self)
        self.share.clicked.connect(self._share)
        self.decline = QPushButton("&Don't share", self)
        self.decline.clicked.connect(self._decline)
        self.later = QPushButton("Cancel" if requested else "Ask me &later", self)
        self.later.clicked.connect(self.reject)
        for button in (self.share, self.decline, self.later):
            button.setAutoDefault(False)
            button.setMinimumHeight(2 * button.fontMetrics().height())  # napari's theme makes disabled buttons taller
            row.addWidget(button, 1)  # equal widths
        return row

    def _update_share_button(self) -> None:
        can_share = self.level not in (None, Level.NONE) and self._takes_reports is not False
        self.share.setEnabled(can_share)
        self.share.setToolTip("" if can_share else "Choose basic, middle or full first.")

    def _share(self) -> None:
        lasting = DURATIONS[self.duration.currentText()]
        self._gui.session.answer(str(self.level), lasting=lasting, means=MEANS, service=self._service)
        self.accept()

    def _decline(self) -> None:
        self._gui.session.answer("none", means=MEANS, service=self._service)
        self.accept()
        offer_removal(self._gui, self.parentWidget())


def offer_removal(gui: Gui, parent: QWidget | None) -> None:
    box = QMessageBox(QMessageBox.Icon.NoIcon, "Telemetry", "Nothing is sent. " + words.REMOVE, parent=parent)
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    box.setObjectName("napari-telemetry-removal")
    remove = box.addButton("Remove it now", QMessageBox.ButtonRole.ActionRole)
    box.addButton("Keep it", QMessageBox.ButtonRole.RejectRole)
    if remove is not None:
        remove.clicked.connect(lambda: gui.session.remove_package(gui.reported.emit))
    box.open()


def _open_url(address: str) -> None:
    QDesktopServices.openUrl(QUrl(address))


def _paragraph(text: str, parent: QWidget) -> QLabel:
    label = QLabel(text, parent)
    label.setWordWrap(True)
    return label
