"""The consent dialog and its answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import napari_telemetry
import pytest
from napari_telemetry import words
from napari_telemetry.client import current_client
from napari_telemetry.consent_rules import ConsentRecord
from napari_telemetry.plugin.instance import get_instance
from napari_telemetry.plugin.qt import gui as guis
from napari_telemetry.plugin.qt.consent_dialog import ConsentDialog
from napari_telemetry.plugin.qt.gui import TelemetryButton
from napari_telemetry.wire import MEANING, TELEMETRY_LEVELS, Level
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QLabel, QMessageBox, QPushButton

from tests.inside_napari.attaching import attach
from tests.inside_napari.fake_server import FakeServer
from tests.inside_napari.waiting import PATIENCE_MS, shown

LEVELS = ["none", "basic", "middle", "full"]


def dialogs() -> list[ConsentDialog]:
    return shown(ConsentDialog)


@pytest.fixture
def dialog(attached: Any, qtbot: Any) -> ConsentDialog:
    """Return the dialog, which opens by itself after installation and a check."""
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=PATIENCE_MS)
    return dialogs()[0]


def records() -> list[ConsentRecord]:
    return current_client().status().view.history


def prompts() -> int:
    return len(current_client().status().view.prompts)


def test_the_dialog_opens_by_itself_once(dialog: ConsentDialog, qtbot: Any) -> None:
    dialog.reject()
    qtbot.wait(1500)
    assert dialogs() == []
    assert prompts() == 1
    assert records() == [], "closing it is not an answer"
    assert current_client().hook_state.read_telemetry()["state"] == "ask", "the update check may load it to ask again"


def test_nothing_is_preselected_and_all_answers_look_alike(dialog: ConsentDialog) -> None:
    assert dialog.level is None
    assert not any(button.isChecked() for button in dialog.levels.buttons())
    answers = (dialog.share, dialog.decline, dialog.later)
    assert max(one.width() for one in answers) - min(one.width() for one in answers) <= 1, "one pixel of rounding is allowed"
    assert len({one.height() for one in answers}) == 1
    assert not any(button.isDefault() or button.autoDefault() for button in dialog.findChildren(QPushButton))


def test_levels_are_explained_and_the_json_is_one_click_away(dialog: ConsentDialog) -> None:
    told = {label.text() for label in dialog.findChildren(QLabel) if label.isVisible()}
    assert set(MEANING.values()) <= told
    assert not dialog.example.isVisible()
    buttons = [one for one in dialog.findChildren(QPushButton) if one.text() == "Show data"]
    assert len(buttons) == 4
    for level, button in zip(Level, buttons, strict=True):
        button.click()
        assert dialog.example.isVisible()
        if level is Level.NONE:
            assert dialog.example.toPlainText() == MEANING[level]
        else:
            body = json.loads(dialog.example.toPlainText())
            assert body["consent"]["level"] == level.value
            assert ("plugins" in body["report"]) is level.includes(Level.MIDDLE)
            assert ("command_usage" in body["report"]) is level.includes(Level.FULL)
    assert dialog.about.text() == words.ABOUT_EXAMPLES
    buttons[3].click()
    assert not dialog.example.isVisible(), "a second click hides it"


def test_the_dialog_fits_a_small_screen(dialog: ConsentDialog) -> None:
    for level in TELEMETRY_LEVELS:
        dialog.show_example(level)
        assert dialog.minimumSizeHint().width() <= 800
        assert dialog.minimumSizeHint().height() <= 600
        assert dialog.width() <= 800
        assert dialog.height() <= 600


@pytest.mark.parametrize("number", [1, 2, 3])
def test_sharing_records_the_chosen_level_until_it_is_changed(dialog: ConsentDialog, qtbot: Any, number: int) -> None:
    assert not dialog.share.isEnabled(), "a level must be chosen first"
    dialog.levels.button(number).click()
    dialog.share.click()
    qtbot.waitUntil(lambda: [one.level.value for one in records()] == [LEVELS[number]], timeout=PATIENCE_MS)
    assert records()[0].until is None
    assert records()[0].means == "napari dialog"


def test_sharing_for_90_days_sets_an_expiry_date(dialog: ConsentDialog, qtbot: Any) -> None:
    dialog.levels.button(1).click()
    dialog.duration.setCurrentText("for 90 days")
    dialog.share.click()
    qtbot.waitUntil(lambda: len(records()) == 1, timeout=PATIENCE_MS)
    until = records()[0].until
    assert until is not None
    assert timedelta(days=89) < until - datetime.now(timezone.utc) <= timedelta(days=90)


@pytest.mark.parametrize("removes", [True, False])
def test_a_refusal_is_recorded_and_removal_is_offered(
    dialog: ConsentDialog, qtbot: Any, monkeypatch: pytest.MonkeyPatch, removes: bool
) -> None:
    ran: list[Any] = []
    monkeypatch.setattr("napari_update_hook.offer.run", ran.append)
    dialog.levels.button(0).click()
    assert not dialog.share.isEnabled()
    dialog.decline.click()
    qtbot.waitUntil(lambda: [one.level.value for one in records()] == ["none"], timeout=PATIENCE_MS)
    (box,) = [one for one in shown(QMessageBox) if one.objectName() == "napari-telemetry-removal"]
    buttons = {one.text(): one for one in box.buttons()}
    buttons["Remove it now" if removes else "Keep it"].click()
    if removes:
        qtbot.waitUntil(lambda: len(ran) == 1, timeout=PATIENCE_MS)
        assert "uninstall" in str(ran[0].commands[0])
    qtbot.wait(300)
    assert len(ran) == removes


@pytest.mark.parametrize("key", [Qt.Key.Key_Escape, Qt.Key.Key_Return])
def test_neither_escape_nor_enter_gives_consent(dialog: ConsentDialog, qtbot: Any, key: Qt.Key) -> None:
    dialog.levels.button(3).click()
    qtbot.keyClick(dialog, key)
    qtbot.wait(300)
    assert records() == []
    assert dialog in dialogs() or key is Qt.Key.Key_Escape


def test_the_dialog_waits_while_another_one_is_open(attached: Any, qtbot: Any) -> None:
    busy = QDialog()
    busy.setModal(True)
    busy.show()
    qtbot.waitUntil(lambda: get_instance().session.snapshot.status is not None, timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.status.is_prompt_due, timeout=PATIENCE_MS)
    qtbot.wait(1500)
    assert dialogs() == []
    assert prompts() == 0
    busy.close()
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=PATIENCE_MS)


def test_no_dialog_after_an_opt_out_by_variable(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_TELEMETRY", "0")
    attach(viewer)
    qtbot.wait(2500)
    assert dialogs() == []


def test_no_dialog_after_an_answer(viewer: Any, qtbot: Any, record_level: Callable[[str], None], server: FakeServer) -> None:
    record_level("none")
    attach(viewer)
    qtbot.waitUntil(lambda: any(path.startswith("/api/updates") for _, path, _ in server.requests), timeout=PATIENCE_MS)
    qtbot.wait(1000)
    assert dialogs() == []


def test_no_dialog_after_the_instance_has_ended(attached: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qt delivers queued signals even after a disconnect."""
    monkeypatch.setattr(guis, "BUSY_RETRY_MS", 20)
    gui = get_instance().gui()
    get_instance().end()
    gui._show_dialog(False)
    qtbot.wait(500)
    assert dialogs() == []
    assert not gui._timer.isActive()


def test_no_automatic_dialog_if_the_server_accepts_no_reports(viewer: Any, qtbot: Any, server: FakeServer) -> None:
    server.is_todays_index = True
    attach(viewer)
    session = get_instance().session
    qtbot.waitUntil(
        lambda: session.snapshot.status is not None and session.snapshot.status.takes_reports is False, timeout=PATIENCE_MS
    )
    qtbot.wait(1500)
    assert dialogs() == []
    assert prompts() == 0
    button = viewer.window._qt_window.findChild(TelemetryButton)
    assert "telemetry: off" in button.text()
    get_instance().gui().ask()
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=PATIENCE_MS)
    (dialog,) = dialogs()
    assert "accepts no reports" in " ".join(label.text() for label in dialog.findChildren(QLabel))
    dialog.levels.button(3).click()
    assert not dialog.share.isEnabled()
    assert not any(link.isEnabled() for link in dialog.findChildren(QPushButton) if link.isFlat())


def test_the_dialog_opens_right_after_installation(viewer: Any, qtbot: Any) -> None:
    """Call ``ask()`` as napari-update-hook's button does."""
    import napari_update_hook

    napari_update_hook.attach(viewer)
    qtbot.waitUntil(lambda: current_client().takes_reports() is True, timeout=PATIENCE_MS)
    napari_telemetry.ask(viewer)
    qtbot.waitUntil(lambda: len(dialogs()) == 1, timeout=PATIENCE_MS)
    assert prompts() == 1


def test_an_unsaved_answer_is_reported(dialog: ConsentDialog, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari.utils.notifications import notification_manager

    monkeypatch.setenv("NAPARI_UPDATE_SERVER", "https://other.example.org")
    session = get_instance().session
    session.refresh()
    qtbot.waitUntil(lambda: session.snapshot.status.settings.service == "https://other.example.org", timeout=PATIENCE_MS)
    dialog.levels.button(3).click()
    dialog.share.click()

    def told() -> list[str]:
        return [str(one.message) for one in notification_manager.records if "Nothing was recorded" in str(one.message)]

    qtbot.waitUntil(lambda: len(told()) == 1, timeout=PATIENCE_MS)
    assert "could not be saved" in told()[0]
    assert records() == []
