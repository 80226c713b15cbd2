"""The dock widget "Plugin updates". Opening it attaches this package."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QAction, QFontDatabase
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_update_hook.plugin import view
from napari_update_hook.plugin.qt.log_exceptions import log_exceptions

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari

    from napari_update_hook.plugin.session import Session, Snapshot
    from napari_update_hook.updates import UpdateRow

SNOOZE_DURATIONS = {"1 week": timedelta(weeks=1), "3 weeks": timedelta(weeks=3), "3 months": timedelta(days=90)}
MIN_ROWS_FOR_SEARCH = 12
WIDTH = 320
LINK_ON_DARK, LINK_ON_LIGHT = "#8ab4f8", "#0645ad"
_ROW = Qt.ItemDataRole.UserRole


class Panel(QWidget):
    """The dock widget. ``napari_viewer``: napari passes it by this name."""

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        from napari_update_hook.plugin import attach
        from napari_update_hook.plugin.instance import get_instance

        self.setObjectName("napari-update-hook-panel")
        layout = QVBoxLayout(self)
        attach(napari_viewer)
        gui = get_instance().gui()
        if gui is None:
            layout.addWidget(QLabel("This panel works only in a napari window."))
            return
        self._session: Session = gui.session
        self._shown: object = ((), "")
        self.summary = _label(self)
        self.progress = QProgressBar(self)
        self.progress.setRange(0, 0)  # unknown duration
        self.progress.setTextVisible(False)
        self.progress.setMaximumHeight(4)
        layout.addWidget(self.summary)
        layout.addWidget(self.progress)
        self.check_first = _button("&Check now", self._session.check)
        self.update_all = _button("Update &all that work together", self._session.update)
        self.more = QPushButton("&More")
        self.more.setMenu(self._make_more_menu())
        layout.addLayout(_row(self.check_first, self.update_all, self.more))
        self.search = QLineEdit(self)
        self.search.setPlaceholderText("Search plugins")
        self.search.setAccessibleName("Search plugins")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._on_changed)
        self.list = _tree(self)
        self.list.itemSelectionChanged.connect(self._on_changed)
        self.details = _label(self)
        self.details.setTextFormat(Qt.TextFormat.RichText)
        self.details.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.details.setOpenExternalLinks(True)
        layout.addWidget(self.search)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.details)
        self.update_one = _button("&Update", lambda: self._session.update([self._name()]))
        self.try_one = _button("&Preview", lambda: self._session.try_update([self._name()]))
        self.try_one.setToolTip("Dry run: shows what else would change.")
        self.snooze = QPushButton("&Snooze")
        self.snooze.setMenu(self._make_snooze_menu())
        self.unsnooze = _button("Un&snooze", lambda: self._session.unsnooze(self._name()))
        layout.addLayout(_row(self.update_one, self.try_one, self.snooze, self.unsnooze))
        self.task = TaskBox(self._session, self)
        layout.addWidget(self.task)
        self.checked = _label(self)
        layout.addWidget(self.checked)
        layout.addStretch()  # keeps the labels together while the list is hidden
        self.setFocusProxy(self.list)
        gui.changed.connect(self._on_changed)
        self.draw(self._session.snapshot)
        self._session.refresh()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Limit the width, to leave space for the canvas."""
        return QSize(WIDTH, super().sizeHint().height())

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Limit the width, so that long words do not widen the panel."""
        return QSize(min(WIDTH, super().minimumSizeHint().width()), super().minimumSizeHint().height())

    def _on_changed(self, *_: object) -> None:
        self.draw(self._session.snapshot)

    @log_exceptions
    def draw(self, snapshot: Snapshot) -> None:
        _set_text(self.summary, view.summary_text(snapshot))
        _set_text(self.checked, view.checked_text(snapshot))
        self.progress.setVisible(snapshot.is_checking or snapshot.is_installing)
        rows = snapshot.result.rows if snapshot.result is not None else ()
        if (rows, self.search.text()) != self._shown:
            self._shown = rows, self.search.text()
            self._fill(view.groups_of(snapshot, self.search.text()))
        self.list.setVisible(bool(rows))
        self.search.setVisible(len(rows) >= MIN_ROWS_FOR_SEARCH or bool(self.search.text()))
        row = self.chosen
        is_dark = self.palette().color(self.foregroundRole()).lightness() > 128  # text color
        _set_text(self.details, view.details_html(snapshot, row, LINK_ON_DARK if is_dark else LINK_ON_LIGHT))
        is_free = not snapshot.is_checking and not snapshot.is_installing
        self.check.setEnabled(is_free and snapshot.problem is None)
        self.notifies.setChecked(snapshot.notifies)
        self.undo.setEnabled(is_free and bool(snapshot.undo))
        self.undo.setToolTip("\n".join(snapshot.undo))
        self.check_first.setVisible(snapshot.result is None and snapshot.problem is None)
        self.check_first.setEnabled(is_free)
        self.update_all.setVisible(snapshot.result is not None)
        self.update_all.setEnabled(view.can_update(snapshot))
        can_update = row is not None and view.can_update(snapshot, row)
        for button in (self.update_one, self.try_one):
            button.setVisible(row is not None and row.target is not None)
            button.setEnabled(can_update)
        is_snoozed = row is not None and row.status.value == "snoozed"
        self.snooze.setVisible(row is not None and row.target is not None)
        self.unsnooze.setVisible(is_snoozed)
        self.task.draw(snapshot)

    @property
    def chosen(self) -> UpdateRow | None:
        items = self.list.selectedItems()
        found: UpdateRow | None = items[0].data(0, _ROW) if items else None
        return found

    def choose(self, name: str) -> None:
        for item in self.items():
            if item.data(0, _ROW).name == name:
                self.list.setCurrentItem(item)

    def items(self) -> list[QTreeWidgetItem]:
        headings = [self.list.topLevelItem(number) for number in range(self.list.topLevelItemCount())]
        return [item for one in headings if one is not None for item in map(one.child, range(one.childCount())) if item]

    def _name(self) -> str:
        row = self.chosen
        return row.name if row is not None else ""

    def _fill(self, groups: list[tuple[str, list[UpdateRow]]]) -> None:
        chosen = self._name()
        self.list.blockSignals(True)
        self.list.clear()
        headings = []
        bold = self.list.font()
        bold.setBold(True)
        for name, rows in groups:
            heading = QTreeWidgetItem([f"{name} ({len(rows)})"])
            heading.setFlags(Qt.ItemFlag.ItemIsEnabled)
            heading.setFont(0, bold)
            items = []
            for row in rows:
                item = QTreeWidgetItem([row.name, view.versions_text(row)])
                item.setData(0, _ROW, row)
                item.setData(0, Qt.ItemDataRole.AccessibleTextRole, view.spoken_text(row))
                items.append(item)
            heading.addChildren(items)
            headings.append(heading)
        self.list.addTopLevelItems(headings)
        for heading in headings:
            heading.setFirstColumnSpanned(True)
        self.list.expandAll()
        self.choose(chosen)
        self.list.blockSignals(False)

    def _make_more_menu(self) -> QMenu:
        menu = QMenu(self)
        self.check = _action(menu, "&Check now", self._session.check)
        self.undo = _action(menu, "&Undo the last update", self._session.undo)
        self.notifies = _action(menu, "&Notify me of new updates", lambda: None)
        self.notifies.setCheckable(True)
        self.notifies.triggered.connect(self._session.set_notifications)
        menu.setToolTipsVisible(True)
        return menu

    def _make_snooze_menu(self) -> QMenu:
        menu = QMenu(self)
        for text, lasting in SNOOZE_DURATIONS.items():
            _action(menu, f"Snooze this version for {text}", partial(self._snooze, lasting))
        for text, every in (("Ignore this version", False), ("Ignore every version", True)):
            _action(menu, text, partial(self._snooze, None, every=every))
        return menu

    def _snooze(self, lasting: timedelta | None, *, every: bool = False) -> None:
        row = self.chosen
        if row is not None and row.target is not None:
            self._session.snooze(row.name, "*" if every else row.target, lasting)


class TaskBox(QWidget):
    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self._logged: tuple[str, ...] = ()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.text = _label(self)
        layout.addWidget(self.text)
        self.agree = _button("&Install", self._agree)
        self.cancel = _button("&Cancel", session.cancel)
        self.undo = _button("Und&o", session.undo)
        self.details = QPushButton("&Log", self)
        self.details.setCheckable(True)
        self.details.toggled.connect(lambda *_: self.draw(session.snapshot))
        self.close_box = _button("OK", session.dismiss_task)
        layout.addLayout(_row(self.agree, self.cancel, self.undo, self.details, self.close_box))
        self.log = QPlainTextEdit(self)
        self.log.setReadOnly(True)
        self.log.setTabChangesFocus(True)
        self.log.setAccessibleName("Output of the installation")
        self.log.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        layout.addWidget(self.log)

    def draw(self, snapshot: Snapshot) -> None:
        task = snapshot.task
        if task is None:
            self.hide()
            return
        _set_text(self.text, task.question or task.outcome or task.title)
        self.agree.setVisible(bool(task.question))
        self.cancel.setVisible(task.is_running)
        self.cancel.setEnabled(task.can_cancel)
        self.undo.setVisible(task.can_undo and bool(snapshot.undo))
        self.undo.setToolTip("\n".join(snapshot.undo))
        self.details.setVisible(bool(task.log))
        self.log.setVisible(bool(task.log) and self.details.isChecked())
        self.close_box.setVisible(not task.is_running)
        self.close_box.setText("Do not install" if task.question else "OK")
        self.show()  # last, because buttons that are not hidden yet would widen it
        if self.details.isChecked() and task.log != self._logged:
            if task.log[: len(self._logged)] == self._logged and self._logged:
                self.log.appendPlainText("\n".join(task.log[len(self._logged) :]))
            else:
                self.log.setPlainText("\n".join(task.log))
            self._logged = task.log
            if (bar := self.log.verticalScrollBar()) is not None:
                bar.setValue(bar.maximum())

    def _agree(self) -> None:
        if (task := self._session.snapshot.task) is not None:
            self._session.update(task.names, with_downgrades=task.with_downgrades)


def _tree(parent: QWidget) -> QTreeWidget:
    tree = QTreeWidget(parent)
    tree.setColumnCount(2)
    tree.setHeaderHidden(True)
    tree.setRootIsDecorated(False)
    tree.setUniformRowHeights(True)
    tree.setAccessibleName("Installed plugins and their updates")
    tree.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    tree.setTextElideMode(Qt.TextElideMode.ElideMiddle)
    if (header := tree.header()) is not None:
        header.setStretchLastSection(False)
        header.setResizeContentsPrecision(0)  # measure only visible rows
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
    return tree


def _label(parent: QWidget) -> QLabel:
    label = QLabel(parent)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def _set_text(label: QLabel, text: str) -> None:
    if label.text() != text:
        label.setText(text)
    label.setVisible(bool(text))


def _button(text: str, act: Callable[[], object]) -> QPushButton:
    button = QPushButton(text)
    button.clicked.connect(lambda: act())
    return button


def _action(menu: QMenu, text: str, act: Callable[[], object]) -> QAction:
    action = QAction(text, menu)
    action.triggered.connect(lambda *_: act())
    menu.addAction(action)
    return action


def _row(*buttons: QPushButton) -> QHBoxLayout:
    row = QHBoxLayout()
    for button in buttons:
        row.addWidget(button)
    row.addStretch(1)
    return row
