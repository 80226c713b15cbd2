"""The panel: updates with what to do about them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from napari_update_hook import attach
from napari_update_hook.client import client_here
from napari_update_hook.plugin.instance import get_instance
from napari_update_hook.plugin.qt.indicator import IndicatorButton
from napari_update_hook.plugin.qt.panel import Panel
from qtpy.QtWidgets import QApplication

from tests.inside_napari.made_server import MadeServer
from tests.inside_napari.waiting import PATIENCE_MS

NAME = "napari-svg"


@pytest.fixture
def panel(viewer: Any, qtbot: Any) -> Panel:
    """The panel, opened as a person opens it, after the first check."""
    viewer.window.add_plugin_dock_widget("napari-update-hook", "Plugin updates")
    qtbot.waitUntil(lambda: get_instance().session.snapshot.result is not None, timeout=PATIENCE_MS)
    found: Panel = viewer.window._qt_window.findChild(Panel)
    qtbot.waitUntil(lambda: found.table.rowCount() > 0 and found.check.isEnabled(), timeout=PATIENCE_MS)
    return found


def row(panel: Panel, name: str) -> list[str]:
    table = panel.table
    names = [table.item(number, 0).text() for number in range(table.rowCount())]
    return [table.item(names.index(name), column).text() for column in range(4)]


def test_it_shows_what_to_update_to_and_why_not_the_newest(panel: Panel, server: MadeServer, qtbot: Any) -> None:
    server.packages = {NAME: {"latest": "99.0", "newest": "100.0", "newest_requires_python": ">=3.99"}}
    panel.check.click()
    qtbot.waitUntil(lambda: "100.0" in row(panel, NAME)[3], timeout=PATIENCE_MS)
    name, installed, target, note = row(panel, NAME)
    assert name == NAME
    assert installed[0].isdigit()
    assert target.endswith("99.0")
    assert "100.0 needs Python >=3.99; this is 3." in note


def test_withdrawn_and_vulnerable_releases_are_marked(panel: Panel, server: MadeServer, qtbot: Any) -> None:
    installed = client_here().environment.distributions[NAME].version
    server.packages = {
        NAME: {"latest": "99.0", "yanked": {installed: "it broke"}, "vulnerabilities": {installed: ["PYSEC-2026-1"]}}
    }
    panel.check.click()
    qtbot.waitUntil(lambda: "it broke" in row(panel, NAME)[3], timeout=PATIENCE_MS)
    assert "PYSEC-2026-1" in row(panel, NAME)[3]
    assert "\N{WARNING SIGN}" in row(panel, NAME)[1]


def test_the_install_command_is_copied(panel: Panel) -> None:
    panel.choose(NAME)
    panel.copy.click()
    copied = QApplication.clipboard().text()
    assert f"{NAME}==99.0" in copied
    assert copied in panel.details.text()


def test_snoozed_ignored_and_heard_of_again(panel: Panel, qtbot: Any) -> None:
    panel.choose(NAME)
    menu: Any = panel.silence.menu()
    texts = [action.text() for action in menu.actions()]
    assert texts[1] == "Snooze this version for 3 weeks"
    menu.actions()[1].trigger()
    qtbot.waitUntil(lambda: "snoozed until" in row(panel, NAME)[3], timeout=PATIENCE_MS)
    assert panel.chosen is not None
    assert panel.chosen.name == NAME, "the line stays chosen"
    panel.unsnooze.click()
    qtbot.waitUntil(lambda: "snoozed" not in row(panel, NAME)[3], timeout=PATIENCE_MS)
    menu.actions()[texts.index("Ignore every version")].trigger()
    qtbot.waitUntil(lambda: "ignored" in row(panel, NAME)[3], timeout=PATIENCE_MS)
    (snooze,) = client_here().state.snoozes()
    assert (snooze.version, snooze.until) == ("*", None)


def test_a_check_shows_that_it_is_under_way_and_never_stops_the_window(panel: Panel, server: MadeServer, qtbot: Any) -> None:
    server.hold.clear()
    panel.check.click()
    assert panel.progress.isVisible()
    assert not panel.check.isEnabled()
    assert "Asking" in panel.summary.text()
    server.hold.set()
    qtbot.waitUntil(lambda: panel.check.isEnabled(), timeout=PATIENCE_MS)
    assert not panel.progress.isVisible()


def test_offline_the_last_answer_stays_with_its_age(panel: Panel, server: MadeServer, qtbot: Any) -> None:
    server.close()
    panel.check.click()
    qtbot.waitUntil(lambda: "This is the answer of" in panel.summary.text(), timeout=PATIENCE_MS)
    assert row(panel, NAME)[2].endswith("99.0")


def test_before_the_first_answer_it_says_what_to_do(viewer: Any, qtbot: Any, server: MadeServer) -> None:
    server.close()
    viewer.window.add_plugin_dock_widget("napari-update-hook", "Plugin updates")
    found: Panel = viewer.window._qt_window.findChild(Panel)
    qtbot.waitUntil(lambda: "reach" in found.summary.text(), timeout=PATIENCE_MS)
    assert not found.table.isVisible()


def test_where_the_check_is_switched_off_it_says_by_whom(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_UPDATE_CHECK", "0")
    viewer.window.add_plugin_dock_widget("napari-update-hook", "Plugin updates")
    found: Panel = viewer.window._qt_window.findChild(Panel)
    qtbot.waitUntil(lambda: "NAPARI_UPDATE_CHECK=0" in found.summary.text(), timeout=PATIENCE_MS)
    assert not found.check.isEnabled()


def test_the_plugin_manager_opens_at_the_plugin(panel: Panel, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_plugin_manager import qt_plugin_dialog

    monkeypatch.setattr(qt_plugin_dialog.QtPluginDialog, "_fetch_available_plugins", lambda *_, **__: None)
    panel.choose(NAME)
    panel.manager.click()
    opened = viewer.window._qt_window._plugin_dialog
    qtbot.waitUntil(opened.isVisible, timeout=PATIENCE_MS)
    assert opened.packages_search.text() == NAME
    opened.hide()
    opened.deleteLater()


def test_nothing_of_it_touches_the_network_on_the_gui_thread(panel: Panel, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests
    from napari_update_hook.state import State

    gui_thread = threading.current_thread()
    strays: list[str] = []
    send, write = requests.Session.send, State._write

    def watched_send(*args: Any, **kwargs: Any) -> Any:
        strays.extend(["network"] if threading.current_thread() is gui_thread else [])
        return send(*args, **kwargs)

    def watched_write(*args: Any) -> None:
        strays.extend(["files"] if threading.current_thread() is gui_thread else [])
        write(*args)

    monkeypatch.setattr(requests.Session, "send", watched_send)
    monkeypatch.setattr(State, "_write", watched_write)
    panel.check.click()
    panel.choose(NAME)
    snooze_menu: Any = panel.silence.menu()
    snooze_menu.actions()[0].trigger()
    panel.notifies.click()
    qtbot.wait(2000)
    assert strays == []


def test_attaching_from_another_thread_is_done_on_the_right_one(viewer: Any, qtbot: Any) -> None:
    thread = threading.Thread(target=attach, args=(viewer,))
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: viewer.window._qt_window.findChild(IndicatorButton) is not None, timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.result is not None, timeout=PATIENCE_MS)


def test_the_indicator_says_how_many_updates_there_are_and_opens_the_panel_once(viewer: Any, qtbot: Any) -> None:
    attach(viewer)
    bar = viewer.window._qt_window.statusBar()
    qtbot.waitUntil(lambda: bar.findChild(IndicatorButton).text() == "1 update", timeout=PATIENCE_MS)
    for _ in range(2):
        bar.findChild(IndicatorButton).click()
    (panel,) = viewer.window._qt_window.findChildren(Panel)
    assert panel.isVisible()


def test_without_a_file_that_says_so_no_telemetry_is_loaded(viewer: Any, qtbot: Any) -> None:
    from napari_telemetry.plugin import instance

    attach(viewer)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.result is not None, timeout=PATIENCE_MS)
    assert instance._instance is None


def test_with_consent_telemetry_is_attached_and_its_report_goes_with_the_check(
    viewer: Any, qtbot: Any, server: MadeServer
) -> None:
    from napari_telemetry.plugin.instance import running_session

    from tests.support import consent

    consent.record("basic")
    attach(viewer)
    assert running_session() is not None
    qtbot.waitUntil(lambda: get_instance().session.snapshot.result is not None, timeout=PATIENCE_MS)
    assert [method for method, _, _ in server.requests] == ["GET", "GET", "POST"], "table, lists, report"
