"""The dock widget "Plugin updates". Opening it attaches this package for this run of napari."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QBrush, QColor, QFont
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QMenu,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_update_hook.plugin.qt.log_exceptions import log_exceptions
from napari_update_hook.plugin.qt.plugin_manager import has_plugin_manager, open_plugin_manager
from napari_update_hook.plugin.view import cells_of, command_text, details_text, mark_of, shown_rows, summary_text

if TYPE_CHECKING:
    import napari

    from napari_update_hook.plugin.session import Session, Snapshot
    from napari_update_hook.updates import UpdateRow

SNOOZES = {"1 week": timedelta(weeks=1), "3 weeks": timedelta(weeks=3), "3 months": timedelta(days=90)}
_MARKS = {
    "update": ("\N{UPWARDS ARROW} ", "#2e9d5b"),
    "unsafe": ("\N{WARNING SIGN} ", "#d8453f"),
}


class Panel(QWidget):
    """What is installed, what to update it to, and what holds it back. ``napari_viewer``: handed in by napari."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        from napari_update_hook.plugin import attach
        from napari_update_hook.plugin.instance import get_instance

        self.setObjectName("napari-update-hook-panel")
        layout = QVBoxLayout(self)
        attach(napari_viewer)
        gui = get_instance().gui()
        if gui is None:
            layout.addWidget(QLabel("This needs napari's window."))
            return
        self._session: Session = gui.session
        self._rows: list[UpdateRow] = []
        self.summary = QLabel(self)
        self.summary.setWordWrap(True)
        self.summary.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.progress = QProgressBar(self)
        self.progress.setRange(0, 0)  # how long a server takes is not known
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(4)
        self.table = self._make_table()
        layout.addWidget(self.summary)
        layout.addWidget(self.progress)
        layout.addWidget(self.table, 1)
        self.details = QLabel(self)
        self.details.setWordWrap(True)
        self.details.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(self.details)
        layout.addLayout(self._make_buttons())
        self.notifies = QCheckBox("Notify me of new updates, at most once a day", self)
        self.notifies.toggled.connect(self._session.want_notifications)
        layout.addWidget(self.notifies)
        self.setFocusProxy(self.table)
        gui.changed.connect(self._on_changed)
        self.draw(self._session.snapshot)
        self._session.refresh()

    def _on_changed(self) -> None:
        self.draw(self._session.snapshot)

    @log_exceptions
    def draw(self, snapshot: Snapshot) -> None:
        """Show the snapshot; the chosen row stays chosen."""
        chosen = self.chosen
        self.summary.setText(summary_text(snapshot))
        self.progress.setVisible(snapshot.is_checking)
        self.check.setEnabled(not snapshot.is_checking and snapshot.problem is None)
        self.notifies.blockSignals(True)
        self.notifies.setChecked(snapshot.notifies)
        self.notifies.blockSignals(False)
        rows = shown_rows(snapshot)
        if rows != self._rows:
            before, self._rows = self._rows, rows
            self._fill(before)
            if chosen is not None:
                self.choose(chosen.name)
        self.table.setVisible(bool(rows))
        self._enable()

    @property
    def chosen(self) -> UpdateRow | None:
        """The row that is chosen in the table."""
        number = self.table.currentRow()
        return self._rows[number] if 0 <= number < len(self._rows) else None

    def choose(self, name: str) -> None:
        """Choose the row of a package."""
        number = next((number for number, row in enumerate(self._rows) if row.name == name), None)
        if number is not None:
            self.table.selectRow(number)

    def _make_table(self) -> QTableWidget:
        table = QTableWidget(0, 4, self)
        table.setHorizontalHeaderLabels(["Name", "Installed", "Update to", "Note"])
        table.setAccessibleName("Installed plugins and their updates")
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setTabKeyNavigation(False)
        table.setWordWrap(True)
        header, side = table.horizontalHeader(), table.verticalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(3, QHeaderView.ResizeMode.Stretch)  # the note takes what is left, and wraps
        if side is not None:
            side.setVisible(False)
        table.itemSelectionChanged.connect(self._enable)
        return table

    def _make_buttons(self) -> QHBoxLayout:
        self.check = QPushButton("&Check now", self)
        self.check.clicked.connect(self._check)
        self.copy = QPushButton("Cop&y command", self)
        self.copy.clicked.connect(self._copy)
        self.manager = QPushButton("&Plugin manager", self)
        self.manager.clicked.connect(self._open_plugin_manager)
        self.silence = QPushButton("&Snooze", self)
        menu = QMenu(self.silence)
        for text, lasting in SNOOZES.items():
            action = menu.addAction(f"Snooze this version for {text}")
            if action is not None:
                action.triggered.connect(lambda *_, lasting=lasting: self._snooze(lasting))
        for text, version in (("Ignore this version", False), ("Ignore every version", True)):
            action = menu.addAction(text)
            if action is not None:
                action.triggered.connect(lambda *_, every=version: self._snooze(None, every=every))
        self.silence.setMenu(menu)
        self.unsnooze = QPushButton("&Unsnooze", self)
        self.unsnooze.clicked.connect(self._unsnooze)
        row = QHBoxLayout()
        for button in (self.check, self.copy, self.manager, self.silence, self.unsnooze):
            row.addWidget(button)
        row.addStretch(1)
        return row

    def _fill(self, before: list[UpdateRow]) -> None:
        """Write the rows that are others than before."""
        self.table.setRowCount(len(self._rows))
        changed = [number for number, row in enumerate(self._rows) if number >= len(before) or before[number] != row]
        for number in changed:
            row = self._rows[number]
            mark = mark_of(row)
            sign, colour = _MARKS.get(mark, ("", None))
            for column, text in enumerate(cells_of(row)):
                item = QTableWidgetItem((sign if column == 2 or (column == 1 and mark == "unsafe") else "") + text)
                item.setToolTip(text)
                if colour is not None and column in (1, 2):
                    item.setForeground(QBrush(QColor(colour)))
                    font = QFont()
                    font.setBold(True)
                    item.setFont(font)
                self.table.setItem(number, column, item)
            self.table.resizeRowToContents(number)

    def _enable(self) -> None:
        row = self.chosen
        self.copy.setEnabled(command_text(self._session.snapshot) is not None)
        self.manager.setVisible(has_plugin_manager())
        self.manager.setEnabled(row is not None and row.name.lower() != "napari")
        self.silence.setEnabled(row is not None and row.target is not None)
        self.unsnooze.setEnabled(row is not None and row.status.value == "snoozed")
        self.details.setText(details_text(self._session.snapshot, row))
        self.details.setVisible(bool(self.details.text()))

    def _check(self) -> None:
        self._session.check()

    def _copy(self) -> None:
        clipboard, command = QApplication.clipboard(), command_text(self._session.snapshot)
        if command is not None and clipboard is not None:
            clipboard.setText(command)
            self.details.setText(f"Copied: {command}")

    def _open_plugin_manager(self) -> None:
        if self.chosen is not None:
            open_plugin_manager(self.window(), self.chosen.name)

    def _snooze(self, lasting: timedelta | None, *, every: bool = False) -> None:
        if self.chosen is not None and self.chosen.target is not None:
            self._session.snooze(self.chosen.name, "*" if every else self.chosen.target, lasting)

    def _unsnooze(self) -> None:
        if self.chosen is not None:
            self._session.unsnooze(self.chosen.name)
