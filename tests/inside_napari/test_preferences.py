"""The maximum level in napari's Preferences: it only lowers the level, and telemetry never writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import napari.settings
import pytest
from napari_telemetry.client import current_client
from napari_telemetry.plugin.instance import get_instance
from napari_telemetry.preferences import FILE, NO_LIMIT, maximum_level, settings_folder
from napari_telemetry.settings import Maximum
from napari_telemetry.wire import Level
from napari_update_hook.plugin import worker
from qtpy.QtWidgets import QComboBox

from tests.inside_napari.attaching import attach
from tests.inside_napari.waiting import PATIENCE_MS
from tests.support import consent

PLUGIN = "napari-telemetry"


def page() -> Any:
    return napari.settings.get_plugin_settings(PLUGIN).sharing


@pytest.fixture
def settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_CONFIG", str(tmp_path / "settings.yaml"))
    assert settings_folder() == tmp_path
    return tmp_path / FILE


@pytest.mark.usefixtures("viewer")
def test_there_is_no_limit_by_default_and_a_chosen_one_is_saved(settings_file: Path) -> None:
    assert maximum_level() == Maximum()
    assert str(getattr(page().maximum_level, "value", page().maximum_level)) == NO_LIMIT
    for level in (Level.MIDDLE, Level.BASIC, Level.NONE):
        page().maximum_level = level.value
        assert maximum_level() == Maximum(level, is_chosen=True), "a chosen level is saved, even none"
    page().maximum_level = NO_LIMIT
    assert maximum_level() == Maximum()


def test_the_limit_can_be_set_in_the_preferences_dialog(viewer: Any, settings_file: Path, qtbot: Any) -> None:
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog

    dialog = PreferencesDialog(viewer.window._qt_window)
    dialog.show()
    choices = [box for box in dialog.findChildren(QComboBox) if [box.itemText(n) for n in range(box.count())][:1] == [NO_LIMIT]]
    (box,) = choices
    assert [box.itemText(number) for number in range(box.count())] == [NO_LIMIT, "middle", "basic", "none"]
    box.setCurrentText("none")
    assert maximum_level() == Maximum(Level.NONE, is_chosen=True)
    dialog.reject()
    dialog.deleteLater()


@pytest.mark.promise("off-in-napari")
def test_lowering_the_maximum_lowers_consent_but_raising_it_does_not(
    viewer: Any, settings_file: Path, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "REREAD_INTERVAL_S", 0.2)
    consent.record("full")
    attach(viewer)
    session = get_instance().session

    def level() -> str:
        status = session.snapshot.status
        return status.decision.level.value if status is not None else ""

    qtbot.waitUntil(lambda: level() == "full", timeout=PATIENCE_MS)
    page().maximum_level = "basic"
    qtbot.waitUntil(lambda: level() == "basic", timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: not get_instance().counting.is_connected, timeout=PATIENCE_MS)  # done by the GUI thread
    session.send(10)
    current = current_client().status().view.consent
    assert current is not None
    assert (current.level, current.means) == (Level.BASIC, "napari Preferences")
    page().reset()  # "Restore defaults"
    session.refresh()
    qtbot.wait(500)
    assert level() == "basic"


@pytest.mark.usefixtures("viewer")
def test_a_limit_set_in_plain_napari_applies_in_a_terminal(settings_file: Path) -> None:
    """Plain napari does not load telemetry; the next check reads the file."""
    consent.record("full")
    page().maximum_level = "none"
    decision = current_client().status().decision
    assert decision.level is Level.NONE
    assert "Preferences" in str(decision.reason)


@pytest.mark.parametrize("text", ["sharing: [", "sharing:\n  maximum_level: everything\n", "sharing: 5\n", "[]"])
def test_an_unreadable_settings_file_forbids_sending(settings_file: Path, text: str) -> None:
    settings_file.write_text(text)
    assert maximum_level() == Maximum(Level.NONE)
    settings_file.unlink()


def test_telemetry_never_writes_the_settings_file(viewer: Any, settings_file: Path, qtbot: Any) -> None:
    consent.record("basic")
    attach(viewer)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.status is not None, timeout=PATIENCE_MS)
    consent.record("full")
    qtbot.wait(1000)
    assert not settings_file.exists()


def test_the_settings_folder_is_found_without_importing_napari(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess
    import sys

    code = (
        "import sys, os; os.environ.pop('NAPARI_CONFIG'); from napari_telemetry.preferences import settings_folder; "
        "found = settings_folder(); assert 'napari' not in sys.modules; "
        "from napari.utils._base import _DEFAULT_CONFIG_PATH as path; assert str(found) == os.path.dirname(path), (found, path)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
