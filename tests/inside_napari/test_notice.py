"""The notification of updates."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from napari.utils.notifications import notification_manager
from napari_update_hook import attach
from napari_update_hook.client import current_client
from napari_update_hook.plugin.instance import get_instance
from napari_update_hook.plugin.qt.panel import Panel
from napari_update_hook.state import Snooze
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from tests.inside_napari.fake_server import FakeServer
from tests.inside_napari.waiting import PATIENCE_MS


@pytest.fixture(autouse=True)
def _no_earlier_notices() -> None:
    notification_manager.records.clear()


def notices() -> list[Any]:
    return [one for one in notification_manager.records if str(one.message).startswith("There ")]


def check(qtbot: Any) -> None:
    session = get_instance().session
    before = session.snapshot.result
    session.check()
    qtbot.waitUntil(lambda: session.snapshot.result is not before and not session.snapshot.is_checking, timeout=PATIENCE_MS)
    qtbot.wait(300)


def test_the_notification_names_updates_and_opens_the_panel(viewer: Any, qtbot: Any, server: FakeServer) -> None:
    attach(viewer)
    qtbot.waitUntil(lambda: len(notices()) == 1, timeout=PATIENCE_MS)
    (notice,) = notices()
    assert notice.message == "There is 1 update: napari-svg 99.0"
    assert str(notice.severity).lower().endswith("info")
    ((text, act),) = notice.actions
    assert text == "Show updates"
    act()
    panel = viewer.window._qt_window.findChild(Panel)
    assert panel is not None


def test_updates_are_announced_once_and_new_ones_the_next_day(
    viewer: Any, qtbot: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime(2026, 11, 2, tzinfo=timezone.utc)
    told = []
    monkeypatch.setenv("NAPARI_UPDATE_NOW", start.isoformat())
    attach(viewer)
    for day, version in ((0, "99.0"), (0.5, "99.1"), (1.1, "99.1"), (2.2, "99.1"), (30, "99.2")):
        monkeypatch.setenv("NAPARI_UPDATE_NOW", (start + timedelta(days=day)).isoformat())
        server.packages = {"napari-svg": {"latest": version}, "napari-console": {"latest": "99.0"}}
        check(qtbot)
        told.append(len(notices()))
    assert told == [1, 1, 2, 2, 3]
    assert notices()[1].message == "There is 1 update: napari-svg 99.1", "napari-console 99.0 was told before"


def test_a_snoozed_update_is_not_announced(viewer: Any, qtbot: Any) -> None:
    current_client().state.snooze(Snooze("napari-svg", "99.0"))
    attach(viewer)
    check(qtbot)
    assert notices() == []


def test_a_setting_turns_notifications_off(viewer: Any, qtbot: Any) -> None:
    current_client().state.set_notifications(False)
    attach(viewer)
    check(qtbot)
    assert notices() == []


def test_no_notification_while_a_panel_shows_the_updates(viewer: Any, qtbot: Any) -> None:
    viewer.window.add_plugin_dock_widget("napari-update-hook", "Plugin updates")
    check(qtbot)
    assert notices() == []


def test_the_notification_waits_during_mouse_use(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_update_hook.plugin.qt.gui.BUSY_RETRY_MS", 50)
    pressed = Qt.MouseButton.LeftButton
    monkeypatch.setattr(QApplication, "mouseButtons", staticmethod(lambda: pressed))
    attach(viewer)
    check(qtbot)
    assert notices() == []
    pressed = Qt.MouseButton.NoButton
    qtbot.waitUntil(lambda: len(notices()) == 1, timeout=PATIENCE_MS)
