"""napari's Preferences show the recorded answer and change it; where they differ, the record wins."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import napari.settings
import pytest
from napari_telemetry import consent
from napari_telemetry.plugin.attachment import attachment
from napari_telemetry.plugin.qt.question import QuestionDialog
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QComboBox

from tests.inside_napari.attaching import attach
from tests.inside_napari.waiting import PATIENCE_MS, shown

PLUGIN = "napari-telemetry"


def page() -> Any:
    return napari.settings.get_plugin_settings(PLUGIN).sharing


def level() -> str:
    value = page().level
    return str(getattr(value, "value", value))


def level_recorded() -> str:
    record = consent.current()
    return record.level.value if record is not None else "nobody answered"


@pytest.fixture
def made(attached: Any, qtbot: Any) -> Any:
    """A viewer whose Preferences somebody has opened."""
    consent.record("basic")
    page()
    qtbot.waitUntil(lambda: level() == "basic", timeout=PATIENCE_MS)
    return attached


@pytest.fixture
def opened(made: Any, qtbot: Any) -> Iterator[Any]:
    """napari's Preferences, as a person has them before themselves."""
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog

    dialog = PreferencesDialog(made.window._qt_window)
    dialog.show()
    qtbot.wait(100)
    yield dialog
    dialog.deleteLater()


def choice(dialog: Any) -> QComboBox:
    """The drop-down of levels on our page."""
    for box in dialog.findChildren(QComboBox):
        if [box.itemText(number) for number in range(box.count())] == ["none", "basic", "middle", "full"]:
            found: QComboBox = box
            return found
    raise AssertionError("there is no choice of levels")


def questions() -> list[QuestionDialog]:
    return shown(QuestionDialog)


def recorded() -> list[tuple[str, datetime | None]]:
    return [(one.level.value, one.until) for one in consent.history()]


@pytest.mark.promise("off-in-napari")
def test_a_lower_level_counts_at_once(opened: Any, qtbot: Any) -> None:
    choice(opened).setCurrentText("none")
    qtbot.waitUntil(lambda: level_recorded() == "none", timeout=PATIENCE_MS)
    assert consent.history()[-1].means == "napari Preferences"
    assert len(consent.history()) == 2, "and once"
    opened.reject()  # "Cancel" sets back what it found: that brings no withdrawn consent back
    qtbot.waitUntil(lambda: level() == "none", timeout=PATIENCE_MS)
    qtbot.wait(500)
    assert level_recorded() == "none"


def test_a_higher_level_is_asked_about_with_what_it_sends(opened: Any, qtbot: Any) -> None:
    for text in ("middle", "full"):
        choice(opened).setCurrentText(text)
        qtbot.wait(300)
        assert level() == text, "what a person chooses stays chosen while they look"
    assert level_recorded() == "basic"
    opened.accept()
    qtbot.waitUntil(lambda: len(questions()) == 1, timeout=PATIENCE_MS)
    assert level_recorded() == "basic"
    (dialog,) = questions()
    assert dialog.level is not None
    assert dialog.level.value == "full"
    dialog.buttons[0].click()
    qtbot.waitUntil(lambda: level_recorded() == level() == "full", timeout=PATIENCE_MS)


def test_scrolling_over_the_choice_agrees_to_nothing(opened: Any, qtbot: Any) -> None:
    box = choice(opened)
    for _ in range(3):
        box.wheelEvent(
            QWheelEvent(
                QPointF(5, 5), QPointF(5, 5), QPoint(), QPoint(0, -120), Qt.MouseButton.NoButton,
                Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
            )
        )  # fmt: skip
    assert level() == "full"
    qtbot.wait(500)
    opened.reject()
    qtbot.wait(500)
    assert (level_recorded(), level(), questions()) == ("basic", "basic", [])


def test_cancel_leaves_a_consent_for_a_time_as_it_was(attached: Any, qtbot: Any) -> None:
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog

    consent.record("basic", lasting="90d")
    page()
    qtbot.waitUntil(lambda: level() == "basic", timeout=PATIENCE_MS)
    before = recorded()
    dialog = PreferencesDialog(attached.window._qt_window)
    dialog.show()
    choice(dialog).setCurrentText("full")
    dialog.reject()
    qtbot.wait(500)
    assert recorded() == before
    dialog.deleteLater()


def test_a_lower_level_ends_when_the_higher_one_would_have(attached: Any, qtbot: Any) -> None:
    consent.record("full", lasting="90d")
    page()
    qtbot.waitUntil(lambda: level() == "full", timeout=PATIENCE_MS)
    page().level = "basic"
    qtbot.waitUntil(lambda: level_recorded() == "basic", timeout=PATIENCE_MS)
    (_, before), (_, after) = recorded()
    assert before is not None
    assert after is not None
    assert abs(before - after) < timedelta(minutes=1)


@pytest.mark.parametrize("why", ["ended", "another server"])
def test_a_consent_that_does_not_hold_is_not_shown_and_not_made_anew(
    attached: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog

    consent.record("full", lasting="1d")
    page()
    qtbot.waitUntil(lambda: level() == "full", timeout=PATIENCE_MS)
    if why == "ended":
        monkeypatch.setenv("NAPARI_UPDATE_NOW", "2099-01-01T00:00:00Z")
    else:
        monkeypatch.setenv("NAPARI_UPDATE_SERVER", "http://127.0.0.1:1")
    attachment().session.refresh()
    qtbot.waitUntil(lambda: level() == "none", timeout=PATIENCE_MS)
    dialog = PreferencesDialog(attached.window._qt_window)
    dialog.show()
    choice(dialog).setCurrentText("basic")
    dialog.reject()
    qtbot.wait(500)
    assert len(recorded()) == 1
    dialog.deleteLater()


def test_a_program_that_writes_into_the_settings_agrees_to_nothing(made: Any, qtbot: Any) -> None:
    page().level = "full"
    qtbot.wait(500)
    assert (level_recorded(), level()) == ("basic", "basic")


def test_the_record_wins_over_a_file_that_says_more(viewer: Any, qtbot: Any) -> None:
    page().level = "full"
    napari.settings._clear_plugin_settings_cache()
    consent.record("basic")
    attach(viewer)
    qtbot.waitUntil(lambda: attachment().session.snapshot.status is not None, timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: level() == "basic", timeout=PATIENCE_MS)
    assert level_recorded() == "basic"


def test_restoring_the_defaults_is_a_withdrawal(made: Any, qtbot: Any) -> None:
    page().reset()
    qtbot.waitUntil(lambda: level_recorded() == "none", timeout=PATIENCE_MS)


def test_cancel_does_not_bring_back_a_consent_that_was_withdrawn_meanwhile(opened: Any, qtbot: Any) -> None:
    consent.withdraw()
    qtbot.waitUntil(lambda: level() == "none", timeout=PATIENCE_MS)
    opened.reject()  # sets back what it found
    qtbot.wait(500)
    assert level_recorded() == "none"
    assert level() == "none"


def test_the_switch_as_a_variable_does_not_break_preferences(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """napari reads NAPARI_<key> into a plugin's settings: a key called telemetry would read NAPARI_TELEMETRY=0."""
    for name in ("NAPARI_TELEMETRY", "NAPARI_UPDATE_CHECK"):
        monkeypatch.setenv(name, "0")
    napari.settings._clear_plugin_settings_cache()
    attach(viewer)
    assert level() == "none"
