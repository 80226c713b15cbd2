"""The dock widget "Telemetry": status, next report, sent reports, server copies, and how to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_update_hook.plugin.qt.log_exceptions import log_exceptions
from qtpy.QtCore import Qt
from qtpy.QtGui import QFontDatabase, QShowEvent
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

from napari_telemetry import words

if TYPE_CHECKING:
    import napari

    from napari_telemetry.plugin.session import Snapshot

MEANS = "napari page"


class Panel(QWidget):
    """The dock widget. ``napari_viewer``: passed by napari."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        import napari_update_hook

        from napari_telemetry import attach
        from napari_telemetry.plugin.instance import get_instance

        napari_update_hook.attach(napari_viewer)  # reports are sent with its checks
        attach(napari_viewer)
        self.setObjectName("napari-telemetry-panel")
        layout = QVBoxLayout(self)
        gui = get_instance().gui()
        if gui is None:
            layout.addWidget(QLabel("Telemetry can be shown only in a napari window."))
            return
        self._session = gui.session
        self.lines: list[tuple[str, str]] = []
        self._previewed: object = None
        self.facts = QFormLayout()
        self.facts.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        layout.addLayout(self.facts)
        row = QHBoxLayout()
        self.change = self._add_button("&Change…", "Review the levels and change your answer.", gui.ask, row)
        self.off = self._add_button("&Off", "Withdraw your consent. Nothing more is sent.", self._withdraw, row)
        self.forget = self._add_button(
            "&Forget me…", "Delete your reports, on the servers and on this computer.", self._confirm_forget, row
        )
        row.addStretch(1)
        layout.addLayout(row)
        self.outcome = QLabel(self)
        self.outcome.setWordWrap(True)
        layout.addWidget(self.outcome)
        self.views = QTabWidget(self)
        self.preview = self._add_view("Next report")
        self.sent = self._add_view("Sent")
        self.copies = self._add_view("Stored on servers")
        self.ids = self._add_view("Your identifiers")
        self.ask = QPushButton("&Ask the servers", self)
        self.ask.clicked.connect(self._session.ask_servers)
        self.views.setCornerWidget(self.ask)
        layout.addWidget(self.views, 1)
        gui.changed.connect(self.draw)
        self.draw()
        self._session.refresh()

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - Qt's name
        """Refresh the preview, which is built only while the panel is visible."""
        super().showEvent(event)
        self.draw()

    @log_exceptions
    def draw(self, *_: object) -> None:
        snapshot: Snapshot = self._session.snapshot
        status = snapshot.status
        lines = words.lines(status) if status is not None else [("Problem", snapshot.problem or "not read yet")]
        if lines != self.lines:
            self.lines = lines
            while self.facts.rowCount():
                self.facts.removeRow(0)
            for name, value in lines:
                label = QLabel(value, self)
                label.setWordWrap(True)
                label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                self.facts.addRow(QLabel(f"{name}:", self), label)
        opt_out = status.settings.opt_out() if status is not None else None
        self.change.setEnabled(status is not None and opt_out is None)
        consent = status.view.consent if status is not None else None
        self.off.setEnabled(consent is not None and consent.level.value != "none")
        self.forget.setEnabled("forget" not in snapshot.busy)
        self.ask.setEnabled("server copy" not in snapshot.busy)
        outcome = [text for name, text in snapshot.failures.items() if name != "preview"]
        outcome += ["Deleting…"] if "forget" in snapshot.busy else []
        outcome += [words.forgotten_text(snapshot.forgotten)] if snapshot.forgotten is not None else []
        self.outcome.setText("\n".join(outcome))
        self.outcome.setVisible(bool(outcome))
        if status is not None:
            _set_text(self.preview, self._preview_text(snapshot))
            _set_text(self.sent, words.sent_text(status.view.sent))
            _set_text(self.ids, words.ids_text(status))
            self._refresh_preview(snapshot)
        asked = words.copies_text(snapshot.copies) if snapshot.copies is not None else "Not asked yet."
        _set_text(self.copies, "Asking…" if "server copy" in snapshot.busy else asked)

    def _refresh_preview(self, snapshot: Snapshot) -> None:
        status = snapshot.status
        if status is None or not self.isVisible() or {"preview", "send"} & snapshot.busy:
            return
        inputs = (status.decision.level, status.view.drafts, status.view.sent, status.view.consent)
        if inputs != self._previewed:
            self._previewed = inputs
            if status.decision.level.value != "none":
                self._session.fetch_preview()

    def _preview_text(self, snapshot: Snapshot) -> str:
        status = snapshot.status
        if status is None or status.decision.level.value == "none":
            return words.sentence(status) if status is not None else ""
        if "preview" in snapshot.busy:
            return "Fetching the public lists…"
        return snapshot.preview or snapshot.failures.get("preview") or f"Next report: {words.next_report(status)}."

    def _add_button(self, text: str, tip: str, act: object, row: QHBoxLayout) -> QPushButton:
        button = QPushButton(text, self)
        button.setToolTip(tip)
        button.clicked.connect(lambda: act())  # type: ignore[operator]  # without the signal's argument
        row.addWidget(button)
        return button

    def _add_view(self, title: str) -> QPlainTextEdit:
        text = QPlainTextEdit(self)
        text.setReadOnly(True)
        text.setTabChangesFocus(True)
        text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        text.setAccessibleName(title)
        self.views.addTab(text, title)
        return text

    def _withdraw(self) -> None:
        status = self._session.snapshot.status
        if status is not None:
            self._session.answer("none", means=MEANS, service=status.settings.service)

    def _confirm_forget(self) -> None:
        """Ask for confirmation, because deletion cannot be undone."""
        buttons = QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No
        box = QMessageBox(QMessageBox.Icon.Question, "Forget me", words.FORGET, buttons, self)
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.setDefaultButton(QMessageBox.StandardButton.No)
        box.accepted.connect(self._session.forget)
        box.open()


def _set_text(view: QPlainTextEdit, text: str) -> None:
    """Set the text if it changed; otherwise keep the scroll position."""
    if view.toPlainText() != text:
        view.setPlainText(text)
