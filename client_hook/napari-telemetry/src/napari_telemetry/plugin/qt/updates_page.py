"""The page of updates: what is installed, what fits, what is newer, and why not."""

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

from napari_telemetry.plugin.qt.plugin_manager import has_plugin_manager, open_plugin_manager
from napari_telemetry.plugin.snapshot import Snapshot, Task
from napari_telemetry.plugin.texts import tr
from napari_telemetry.plugin.view import cells_of, mark_of, shown_rows, updates_summary

if TYPE_CHECKING:
    from napari_telemetry.plugin.session import Session
    from napari_telemetry.updates import UpdateRow

SNOOZES = {"1 week": timedelta(weeks=1), "3 weeks": timedelta(weeks=3), "3 months": timedelta(days=90)}
_MARKS = {
    "update": ("\N{UPWARDS ARROW} ", "#2e9d5b"),
    "unsafe": ("\N{WARNING SIGN} ", "#d8453f"),
}


class UpdatesPage(QWidget):
    """Draws `view.shown_rows`, and passes on what a person wants done with the chosen row."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._rows: list[UpdateRow] = []
        layout = QVBoxLayout(self)
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
        self.how = QLabel(self)
        self.how.setWordWrap(True)
        self.how.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        layout.addWidget(self.how)
        layout.addLayout(self._make_buttons())
        self.notifies = QCheckBox(tr("Tell me when new updates fit, at most once a day"), self)
        self.notifies.toggled.connect(self._session.notify)
        layout.addWidget(self.notifies)

    def draw(self, snapshot: Snapshot) -> None:
        """Show the snapshot; the chosen row stays chosen."""
        chosen = self.chosen
        is_checking = snapshot.is_busy(Task.CHECK)
        self.summary.setText(updates_summary(snapshot))
        self.progress.setVisible(is_checking)
        is_off = snapshot.problem is not None or (snapshot.status is not None and snapshot.status.check_switch is not None)
        self.check.setEnabled(not is_checking and not is_off)
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
        table = QTableWidget(0, 5, self)
        table.setHorizontalHeaderLabels([tr("Name"), tr("Installed"), tr("Fits your Python"), tr("Newest"), tr("Note")])
        table.setAccessibleName(tr("Installed plugins and their updates"))
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setTabKeyNavigation(False)
        table.setWordWrap(True)
        header, side = table.horizontalHeader(), table.verticalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(4, QHeaderView.ResizeMode.Stretch)  # the note takes what is left, and wraps
        if side is not None:
            side.setVisible(False)
        table.itemSelectionChanged.connect(self._enable)
        return table

    def _make_buttons(self) -> QHBoxLayout:
        self.check = QPushButton(tr("&Check now"), self)
        self.check.clicked.connect(self._check)
        self.copy = QPushButton(tr("Cop&y command"), self)
        self.copy.clicked.connect(self._copy)
        self.manager = QPushButton(tr("&Plugin manager"), self)
        self.manager.clicked.connect(self._open_plugin_manager)
        self.silence = QPushButton(tr("&Snooze"), self)
        menu = QMenu(self.silence)
        for text, lasting in SNOOZES.items():
            action = menu.addAction(tr("Snooze this version for {time}", time=tr(text)))
            if action is not None:
                action.triggered.connect(lambda *_, lasting=lasting: self._snooze(lasting))
        for text, version in ((tr("Ignore this version"), False), (tr("Ignore every version"), True)):
            action = menu.addAction(text)
            if action is not None:
                action.triggered.connect(lambda *_, every=version: self._snooze(None, every=every))
        self.silence.setMenu(menu)
        self.hear = QPushButton(tr("&Hear again"), self)
        self.hear.clicked.connect(self._hear)
        row = QHBoxLayout()
        for button in (self.check, self.copy, self.manager, self.silence, self.hear):
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
        self.copy.setEnabled(row is not None and row.command is not None)
        self.manager.setVisible(has_plugin_manager())
        self.manager.setEnabled(row is not None and row.name.lower() != "napari")
        self.silence.setEnabled(row is not None and row.needs_attention and row.latest is not None)
        self.hear.setEnabled(row is not None and row.status.value == "snoozed")
        told = [row.note, row.command or row.no_command] if row is not None else []
        self.how.setText("\n".join(text for text in told if text))
        self.how.setVisible(bool(self.how.text()))

    def _check(self) -> None:
        self._session.check()

    def _copy(self) -> None:
        clipboard = QApplication.clipboard()
        if self.chosen is not None and self.chosen.command is not None and clipboard is not None:
            clipboard.setText(self.chosen.command)
            self.how.setText(tr("Copied: {command}", command=self.chosen.command))

    def _open_plugin_manager(self) -> None:
        if self.chosen is not None:
            open_plugin_manager(self.window(), self.chosen.name)

    def _snooze(self, lasting: timedelta | None, *, every: bool = False) -> None:
        if self.chosen is not None and self.chosen.latest is not None:
            self._session.snooze(self.chosen.name, "*" if every else self.chosen.latest, lasting)

    def _hear(self) -> None:
        if self.chosen is not None:
            self._session.unsnooze(self.chosen.name)
