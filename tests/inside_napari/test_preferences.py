"""napari's Preferences show the recorded answer and change it; where they differ, the record wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari.settings
import pytest
from napari_update_hook import consent
from napari_update_hook.api import client_here
from napari_update_hook.plugin import attach
from napari_update_hook.plugin.attachment import attachment

from tests.inside_napari.waiting import PATIENCE_MS

PLUGIN = "napari-update-hook"


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


def test_what_is_chosen_there_is_recorded(made: Any, qtbot: Any) -> None:
    page().level = "middle"
    qtbot.waitUntil(lambda: level_recorded() == "middle", timeout=PATIENCE_MS)
    assert consent.history()[-1].means == "napari Preferences"
    assert len(consent.history()) == 2, "and once"


def test_what_is_answered_elsewhere_is_shown_there(made: Any, qtbot: Any) -> None:
    consent.withdraw()
    qtbot.waitUntil(lambda: level() == "none", timeout=PATIENCE_MS)
    qtbot.wait(300)
    assert [one.means for one in consent.history()] == ["napari_update_hook.consent"] * 2


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


def test_cancel_does_not_bring_back_a_consent_that_was_withdrawn_meanwhile(made: Any, qtbot: Any) -> None:
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog

    consent.record("full")
    qtbot.waitUntil(lambda: level() == "full", timeout=PATIENCE_MS)
    dialog = PreferencesDialog(made.window._qt_window)
    dialog.show()
    qtbot.wait(100)
    consent.withdraw()
    qtbot.waitUntil(lambda: level() == "none", timeout=PATIENCE_MS)
    dialog.reject()  # sets back what it found
    qtbot.wait(500)
    assert level_recorded() == "none"
    assert level() == "none"
    dialog.deleteLater()


def test_a_page_is_there_with_a_choice_of_levels(made: Any, qtbot: Any) -> None:
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog

    dialog = PreferencesDialog(made.window._qt_window)
    dialog.show()
    names = [dialog._list.item(row).text() for row in range(dialog._list.count())]
    assert "Updates and telemetry" in names
    dialog.reject()
    dialog.deleteLater()


def test_notifications_can_be_turned_off_there(made: Any, qtbot: Any) -> None:
    page().notify = False
    qtbot.waitUntil(lambda: client_here().store.notices.wanted() is False, timeout=PATIENCE_MS)
    client_here().store.notices.want(True)
    qtbot.waitUntil(lambda: page().notify is True, timeout=PATIENCE_MS)


def test_the_switch_as_a_variable_does_not_break_preferences(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """napari reads NAPARI_<key> into a plugin's settings: a key called telemetry would read NAPARI_TELEMETRY=0."""
    for name in ("NAPARI_TELEMETRY", "NAPARI_UPDATE_CHECK"):
        monkeypatch.setenv(name, "0")
    napari.settings._clear_plugin_settings_cache()
    attach(viewer)
    assert level() == "none"


def test_without_a_difference_the_settings_are_not_even_made(viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    napari.settings._clear_plugin_settings_cache()
    (Path(napari.settings.get_settings().config_path).parent / f"{PLUGIN}.yaml").unlink(missing_ok=True)
    attach(viewer)
    qtbot.waitUntil(lambda: attachment().session.snapshot.result is not None, timeout=PATIENCE_MS)
    qtbot.wait(500)
    assert not napari.settings._PLUGIN_SETTINGS


def test_a_choice_is_not_set_back_while_it_is_written_down(made: Any, qtbot: Any) -> None:
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog

    dialog = PreferencesDialog(made.window._qt_window)
    dialog.show()
    for chosen in ("middle", "full"):
        page().level = chosen
        assert level() == chosen
        qtbot.waitUntil(lambda chosen=chosen: level_recorded() == chosen, timeout=PATIENCE_MS)
        qtbot.wait(300)
        assert level() == chosen
    dialog.accept()
    dialog.deleteLater()
