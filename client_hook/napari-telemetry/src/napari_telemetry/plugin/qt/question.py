"""The question whether somebody wants to take part: all levels side by side, nothing preselected, all answers equal."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, QUrl
from qtpy.QtGui import QDesktopServices, QFontDatabase, QKeyEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from napari_telemetry.asking import MEANING, Question
from napari_telemetry.plugin.questions import questions_of
from napari_telemetry.plugin.texts import tr
from napari_telemetry.wire import Level

if TYPE_CHECKING:
    from napari_telemetry.plugin.session import Session

FOR_A_TIME = timedelta(days=90)
MEANS = "napari dialog"
_TOP = Qt.AlignmentFlag.AlignTop


class QuestionDialog(QDialog):
    """Asks once. Whatever closes it without an answer means "ask me later", and sends nothing.

    ``question``: why it is put, None where the last answer holds. ``by_hand``: a person opened it to change the answer, so
    there is no later: closing changes nothing. ``level``: what they chose elsewhere already.
    """

    def __init__(
        self,
        session: Session,
        parent: QWidget,
        question: Question | None = None,
        *,
        by_hand: bool = False,
        level: str = "",
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._question = question
        status = session.snapshot.status
        self._service = status.service if status is not None else ""
        self._takes_reports = session.snapshot.takes_reports is True
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(tr("Updates and telemetry"))
        self.setObjectName("napari-telemetry-question")
        self.levels = QButtonGroup(self)
        self.buttons: list[QPushButton] = []
        layout = QVBoxLayout(self)
        for text in self._introduction():
            layout.addWidget(_paragraph(text))
        columns = QGridLayout()  # a grid, so that the same things stand beside each other
        columns.setHorizontalSpacing(12)
        columns.setRowStretch(3, 1)
        for number, one in enumerate(Level):
            columns.setColumnStretch(number, 1)
            for row, widget in enumerate(self._column(number, one)):
                columns.addWidget(widget, row, number, _TOP if row < 3 else Qt.AlignmentFlag(0))
        layout.addLayout(columns, 1)
        layout.addLayout(self._links())
        layout.addLayout(self._answers(by_hand))
        self.levels.idClicked.connect(self._enable)
        self._enable()
        screen = parent.screen()
        room = screen.availableSize() if screen is not None else QSize(1024, 768)
        self.resize(min(1080, room.width() - 40), min(640, room.height() - 80))
        chosen = next((number for number, one in enumerate(Level) if one.value == level), None)
        first = self.levels.button(chosen or 0)
        if first is not None:
            first.setFocus()
            if chosen is not None:
                first.setChecked(True)
                self._enable()

    @property
    def level(self) -> Level | None:
        """The level that is chosen; None as long as none is."""
        number = self.levels.checkedId()
        return list(Level)[number] if number >= 0 else None

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """Enter answers nothing by itself: a button must have the focus for it."""
        if event is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            button = self.focusWidget()
            if isinstance(button, QPushButton):
                button.click()
            return
        super().keyPressEvent(event)

    def _introduction(self) -> list[str]:
        question = self._question
        paragraphs = [
            tr(
                "May this environment send a weekly report to {service}? Public numbers come of it, for those who maintain "
                "napari and its plugins: counts of people, never fewer than ten. Reports are deleted 60 days after their week "
                "began.",
                service=self._service,
            ),
            tr(
                "Below is what each level would send from here right now, but for the identifier, which is made up. "
                "Updates are checked whatever you choose, and you can change your answer at any time."
            ),
        ]
        if self._session.snapshot.takes_reports is None:
            paragraphs.append(tr("The public index is not known yet, so no plugin is named below: check for updates first."))
        if not self._takes_reports:
            paragraphs.insert(
                0,
                tr("{service} takes no reports so far: whatever you answer, nothing can be sent there.", service=self._service),
            )
        if question is not None and question.before is not None:
            paragraphs.insert(0, tr("You are asked again: {why}.", why=tr(question.why.value)))
        paragraphs += [
            tr(
                "New since you answered: level {level} now also sends {name}: {description} ({type}).",
                level=change.level.value,
                name=change.name,
                description=change.description,
                type=change.type,
            )
            for change in (question.changes if question else [])
        ]
        return paragraphs

    def _column(self, number: int, level: Level) -> tuple[QWidget, ...]:
        choice = QRadioButton(tr(level.value.capitalize()), self)
        meaning = tr(MEANING[level])
        choice.setAccessibleDescription(meaning)
        self.levels.addButton(choice, number)
        example = QPlainTextEdit(self)
        example.setReadOnly(True)
        example.setTabChangesFocus(True)
        example.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        example.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        example.setPlainText(self._session.snapshot.examples.get(level.value, tr("Nothing.")))
        example.setAccessibleName(tr("What level {level} sends from here", level=level.value))
        questions = questions_of(level.value)
        if questions:
            example.setToolTip(tr("It answers:") + "\n" + "\n".join(questions))
        heading = QLabel(tr("Would be sent now:"), self)
        heading.setBuddy(example)
        return choice, _paragraph(meaning), heading, example

    def _links(self) -> QHBoxLayout:
        """Buttons, because links have a colour of their own that a dark theme swallows."""
        status = self._session.snapshot.status
        server = status.server if status is not None else ""
        row = QHBoxLayout()
        for text, path in (
            (tr("See the public numbers"), "dashboard"),
            (tr("Read what is stored, and for how long"), "privacy"),
        ):
            link = QPushButton(text, self)
            link.setFlat(True)
            link.setAutoDefault(False)
            link.setToolTip(f"{server}/{path}")
            link.setEnabled(self._takes_reports)
            link.clicked.connect(partial(_open, f"{server}/{path}"))
            row.addWidget(link)
        row.addStretch(1)
        return row

    def _answers(self, by_hand: bool) -> QHBoxLayout:
        row = QHBoxLayout()
        later = tr("Cancel") if by_hand else tr("Ask me &later")
        for text, act in (
            (tr("Until I &change it"), self._agree),
            (tr("For 90 &days"), self._agree_for_a_time),
            (later, self.reject),
            (tr("&No"), self._refuse),
        ):
            button = QPushButton(text, self)
            button.setAutoDefault(False)
            button.setMinimumHeight(2 * button.fontMetrics().height())  # napari's theme makes disabled ones higher
            button.clicked.connect(act)
            row.addWidget(button, 1)  # all of one width
            self.buttons.append(button)
        return row

    def _enable(self) -> None:
        """The first two answers need a level; none is for ever."""
        level = self.level
        self.buttons[0].setEnabled(level is not None)
        self.buttons[1].setEnabled(level is not None and level is not Level.NONE)
        hint = tr("Choose a level first.") if level is None else ""
        for button in self.buttons[:2]:
            button.setToolTip(hint)

    def _agree(self) -> None:
        self._answer(self.level, None)

    def _agree_for_a_time(self) -> None:
        self._answer(self.level, FOR_A_TIME)

    def _refuse(self) -> None:
        self._answer(Level.NONE, None)

    def _answer(self, level: Level | None, lasting: timedelta | None) -> None:
        if level is not None:
            self._session.answer(level, lasting=lasting, means=MEANS, service=self._service)
            self.accept()


def _open(address: str) -> None:
    QDesktopServices.openUrl(QUrl(address))


def _paragraph(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label
