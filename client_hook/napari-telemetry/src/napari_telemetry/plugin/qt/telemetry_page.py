"""The page of telemetry: how it stands, what goes out, what went out, what servers hold, and how to end it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPlainTextEdit,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_telemetry.plugin.snapshot import Snapshot, Task
from napari_telemetry.plugin.texts import tr
from napari_telemetry.plugin.view import copies_text, forgotten_text, ids_text, sent_text, telemetry_facts

if TYPE_CHECKING:
    from napari_telemetry.plugin.qt.gui import Gui

MEANS = "napari panel"


class TelemetryPage(QWidget):
    """Draws what `view` says of telemetry, and passes on what a person wants."""

    def __init__(self, gui: Gui, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._gui = gui
        self._session = gui.session
        self._facts: list[tuple[str, str]] = []
        self._previewed: object = None
        layout = QVBoxLayout(self)
        self.facts = QFormLayout()
        self.facts.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        layout.addLayout(self.facts)
        self.change = QPushButton(tr("&Change my answer…"), self)
        self.change.clicked.connect(lambda: gui.ask())
        self.withdraw = QPushButton(tr("&Withdraw"), self)
        self.withdraw.setToolTip(tr("Nothing is sent from now on."))
        self.withdraw.clicked.connect(self._withdraw)
        self.forget = QPushButton(tr("&Forget me…"), self)
        self.forget.setToolTip(tr("Delete your reports on the servers, and their copies here."))
        self.forget.clicked.connect(self._forget)
        row = QHBoxLayout()
        for button in (self.change, self.withdraw, self.forget):
            row.addWidget(button)
        row.addStretch(1)
        layout.addLayout(row)
        self.outcome = QLabel(self)
        self.outcome.setWordWrap(True)
        layout.addWidget(self.outcome)
        self.views = QTabWidget(self)
        self.preview = self._view(tr("Goes out next"))
        self.sent = self._view(tr("Was sent"))
        self.copies = self._view(tr("Servers hold"))
        self.ids = self._view(tr("Your names"))
        self.ask = QPushButton(tr("&Ask the servers"), self)
        self.ask.clicked.connect(self._session.ask_servers)
        self.views.setCornerWidget(self.ask)
        self.views.currentChanged.connect(self._on_view)
        layout.addWidget(self.views, 1)

    def draw(self, snapshot: Snapshot) -> None:
        """Show the snapshot."""
        facts = telemetry_facts(snapshot)
        if facts != self._facts:
            self._facts = facts
            while self.facts.rowCount():
                self.facts.removeRow(0)
            for name, value in facts:
                label = QLabel(value, self)
                label.setWordWrap(True)
                label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                self.facts.addRow(QLabel(f"{name}:", self), label)
        status = snapshot.status
        agreed = status is not None and status.consent is not None and status.consent.level.value != "none"
        self.change.setEnabled(status is not None and status.switch is None)
        self.change.setToolTip("" if status is None or status.switch is None else tr("Off: {reason}.", reason=status.switch))
        self.withdraw.setEnabled(agreed)
        self.forget.setEnabled(not snapshot.is_busy(Task.FORGET))
        self.ask.setEnabled(not snapshot.is_busy(Task.SERVER_COPY))
        failures = [snapshot.failures.get(task, "") for task in (Task.ANSWER, Task.QUESTION)]
        outcome = "\n".join(filter(None, [*failures, forgotten_text(snapshot)]))
        self.outcome.setText(outcome)
        self.outcome.setVisible(bool(outcome))
        _show(self.preview, self._preview_text(snapshot))
        _show(self.sent, sent_text(snapshot))
        asking = snapshot.is_busy(Task.SERVER_COPY)
        _show(self.copies, tr("Asking…") if asking else snapshot.failures.get(Task.SERVER_COPY) or copies_text(snapshot))
        _show(self.ids, ids_text(snapshot))
        self._prepare_preview(snapshot)

    def _prepare_preview(self, snapshot: Snapshot) -> None:
        """Keep the preview true: make it anew whenever what it is made of may have changed, while it can be seen."""
        status = snapshot.status
        if status is None or not self.isVisible():
            return
        made_of = (status.level, status.weeks, status.sent, status.consent)
        if made_of != self._previewed and not snapshot.is_busy(Task.PREVIEW, Task.SEND):
            self._previewed = made_of
            if status.level.value != "none":
                self._session.show_preview()

    def _preview_text(self, snapshot: Snapshot) -> str:
        status = snapshot.status
        if status is None:
            return ""
        if status.level.value == "none":
            return status.reason or tr("Nothing is sent.")
        if snapshot.is_busy(Task.PREVIEW):
            return tr("Fetching the public lists…")
        if snapshot.preview is not None:
            return snapshot.preview
        return snapshot.failures.get(Task.PREVIEW) or tr("Nothing goes out next: the server has everything of this week.")

    def _view(self, title: str) -> QPlainTextEdit:
        text = QPlainTextEdit(self)
        text.setReadOnly(True)
        text.setTabChangesFocus(True)
        text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        text.setAccessibleName(title)
        self.views.addTab(text, title)
        return text

    def _on_view(self) -> None:
        snapshot = self._session.snapshot
        if Task.PREVIEW in snapshot.failures:  # whoever looks again wants to know whether it works by now
            self._previewed = None
        self.draw(snapshot)

    def _withdraw(self) -> None:
        status = self._session.snapshot.status
        self._session.answer("none", means=MEANS, service=status.service if status is not None else "")

    def _forget(self) -> None:
        """Ask first, without blocking: it can't be undone."""
        question = QMessageBox(
            QMessageBox.Icon.Question,
            tr("Forget me"),
            tr("Delete all your reports, on the servers and here? Nothing more is sent for these weeks."),
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
            self,
        )
        question.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        question.setDefaultButton(QMessageBox.StandardButton.No)
        question.accepted.connect(self._session.forget)
        question.open()


def _show(view: QPlainTextEdit, text: str) -> None:
    """Replace the text, unless it is the same: who reads it keeps the place."""
    if view.toPlainText() != text:
        view.setPlainText(text)
