"""The question: when it is put, what it shows, what each answer does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from napari_telemetry.api import client_here
from napari_telemetry.asking import Question, Why
from napari_telemetry.decision import ConsentRecord
from napari_telemetry.plugin import session as sessions
from napari_telemetry.plugin.attachment import attachment
from napari_telemetry.plugin.qt import gui as guis
from napari_telemetry.plugin.qt.indicator import IndicatorButton
from napari_telemetry.plugin.qt.question import QuestionDialog
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QLabel, QPlainTextEdit, QPushButton

from tests.inside_napari.attaching import attach
from tests.inside_napari.made_server import MadeServer
from tests.inside_napari.waiting import PATIENCE_MS, shown

LEVELS = ["none", "basic", "middle", "full"]


def dialogs() -> list[QuestionDialog]:
    return shown(QuestionDialog)


@pytest.fixture
def question(attached: Any, qtbot: Any) -> QuestionDialog:
    """The question, as it comes by itself."""
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=PATIENCE_MS)
    return dialogs()[0]


def records() -> list[ConsentRecord]:
    return client_here().store.consents.history()


def test_it_comes_by_itself_once(question: QuestionDialog, qtbot: Any) -> None:
    question.reject()
    qtbot.wait(1500)
    assert dialogs() == []
    assert len(client_here().store.consents.askings()) == 1
    assert records() == [], "closing it is no answer"


def test_nothing_is_preselected_and_all_answers_look_alike(question: QuestionDialog) -> None:
    assert question.level is None
    assert not any(button.isChecked() for button in question.levels.buttons())
    assert len({button.width() for button in question.buttons}) <= 2, "of one width, but for a pixel of rounding"
    assert max(b.width() for b in question.buttons) - min(b.width() for b in question.buttons) <= 1
    assert len({button.height() for button in question.buttons}) == 1
    assert not any(button.isDefault() or button.autoDefault() for button in question.findChildren(QPushButton))


def test_each_level_stands_beside_the_others_with_what_it_sends(question: QuestionDialog) -> None:
    import json

    tops = {button.mapTo(question, button.rect().topLeft()).y() for button in question.levels.buttons()}
    assert len(tops) == 1
    shown = [text.toPlainText() for text in question.findChildren(QPlainTextEdit)]
    assert shown[0] == "Nothing."
    bodies = [json.loads(text) for text in shown[1:]]
    assert [body["consent"]["level"] for body in bodies] == LEVELS[1:]
    assert "plugins" not in bodies[0]["report"]
    assert "plugins" in bodies[1]["report"]
    assert "command_usage" in bodies[2]["report"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_agreeing_records_the_chosen_level_for_ever(question: QuestionDialog, qtbot: Any, number: int) -> None:
    assert not question.buttons[0].isEnabled(), "a level must be chosen first"
    question.levels.button(number).click()
    question.buttons[0].click()
    qtbot.waitUntil(lambda: [one.level.value for one in records()] == [LEVELS[number]], timeout=PATIENCE_MS)
    assert records()[0].until is None
    assert records()[0].means == "napari dialog"


def test_agreeing_for_a_time_ends_by_itself(question: QuestionDialog, qtbot: Any) -> None:
    question.levels.button(1).click()
    question.buttons[1].click()
    qtbot.waitUntil(lambda: len(records()) == 1, timeout=PATIENCE_MS)
    until = records()[0].until
    assert until is not None
    assert timedelta(days=89) < until - datetime.now(timezone.utc) <= timedelta(days=90)


def test_no_is_an_answer(question: QuestionDialog, qtbot: Any) -> None:
    question.buttons[3].click()
    qtbot.waitUntil(lambda: [one.level.value for one in records()] == ["none"], timeout=PATIENCE_MS)


@pytest.mark.parametrize("key", [Qt.Key.Key_Escape, Qt.Key.Key_Return])
def test_neither_escape_nor_enter_agrees(question: QuestionDialog, qtbot: Any, key: Qt.Key) -> None:
    question.levels.button(3).click()
    qtbot.keyClick(question, key)
    qtbot.wait(300)
    assert records() == []
    assert question in dialogs() or key is Qt.Key.Key_Escape


def test_it_waits_while_a_dialog_is_open(attached: Any, qtbot: Any) -> None:
    busy = QDialog()
    busy.setModal(True)
    busy.show()
    qtbot.wait(2500)
    assert dialogs() == []
    assert client_here().store.consents.askings() == []
    busy.close()
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=PATIENCE_MS)


def test_nobody_is_asked_where_a_switch_is_off(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setenv("NAPARI_TELEMETRY", "0")
    attach(viewer)
    qtbot.wait(2500)
    assert dialogs() == []


def test_nobody_is_asked_who_has_answered(viewer: Any, qtbot: Any, answered: Callable[[str], None], server: MadeServer) -> None:

    answered("none")
    attach(viewer)
    qtbot.waitUntil(lambda: any(path.startswith("/api/updates") for _, path, _ in server.requests), timeout=PATIENCE_MS)
    qtbot.wait(1000)
    assert dialogs() == []


def test_what_was_put_off_and_answered_meanwhile_does_not_come(
    attached: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_busy: list[int] = []
    prepare = sessions._examples

    def then_busy(here: Any) -> dict[str, str]:
        is_busy.append(1)
        return prepare(here)

    monkeypatch.setattr(sessions, "_examples", then_busy)
    monkeypatch.setattr(guis, "_is_busy", lambda: bool(is_busy))
    gui, session = attachment().gui(), attachment().session
    qtbot.waitUntil(lambda: gui._put_off is not None, timeout=PATIENCE_MS)
    session.answer("none", means="test", service=client_here().settings.service)
    qtbot.waitUntil(lambda: bool(records()) and not session.snapshot.busy, timeout=PATIENCE_MS)
    is_busy.clear()
    qtbot.wait(1500)
    assert dialogs() == []
    assert gui._put_off is None


def test_nobody_is_asked_by_what_has_ended(attached: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qt delivers what was posted before, also to a slot that is connected no more."""
    monkeypatch.setattr(guis, "ASK_WHEN_IDLE_MS", 20)
    gui = attachment().gui()
    attachment().end()
    gui._show_question(Question(Why.FIRST), False, "")
    gui._ask_when_idle()
    qtbot.wait(500)
    assert dialogs() == []
    assert not gui._timer.isActive()


def test_an_index_that_takes_no_reports_is_nothing_to_be_asked_about(viewer: Any, qtbot: Any, server: MadeServer) -> None:
    server.is_todays_index = True
    attach(viewer)
    qtbot.waitUntil(lambda: attachment().session.snapshot.takes_reports is not None, timeout=PATIENCE_MS)
    qtbot.wait(1500)
    assert dialogs() == []
    assert client_here().store.consents.askings() == []
    indicator = viewer.window._qt_window.findChild(IndicatorButton)
    assert "telemetry: off" in indicator.text()
    assert "takes no reports" in indicator.toolTip()
    attachment().gui().ask()
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=PATIENCE_MS)
    (dialog,) = dialogs()
    assert "takes no reports so far" in " ".join(label.text() for label in dialog.findChildren(QLabel))
    assert not any(link.isEnabled() for link in dialog.findChildren(QPushButton) if link.isFlat())


def test_an_answer_that_could_not_be_recorded_is_told(
    question: QuestionDialog, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari.utils.notifications import notification_manager

    monkeypatch.setenv("NAPARI_UPDATE_SERVER", "https://other.example.org")
    attachment().session.refresh()
    qtbot.waitUntil(lambda: attachment().session.snapshot.status.service == "https://other.example.org", timeout=PATIENCE_MS)
    question.levels.button(3).click()
    question.buttons[0].click()

    def told() -> list[str]:
        return [str(one.message) for one in notification_manager.records if "Nothing was recorded" in str(one.message)]

    qtbot.waitUntil(lambda: len(told()) == 1, timeout=PATIENCE_MS)
    assert records() == []
