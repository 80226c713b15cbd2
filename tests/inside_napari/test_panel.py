"""The panel of updates."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from napari._app_model import get_app_model
from napari_update_hook import attach
from napari_update_hook.client import current_client
from napari_update_hook.plugin.instance import get_instance
from napari_update_hook.plugin.qt.indicator import IndicatorButton
from napari_update_hook.plugin.qt.panel import Panel
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtWidgets import QDockWidget, QPushButton

from tests.inside_napari.fake_server import FakeServer
from tests.inside_napari.waiting import PATIENCE_MS

NAME = "napari-svg"
ROW, ACCESSIBLE = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.AccessibleTextRole


@pytest.fixture
def panel(viewer: Any, qtbot: Any) -> Panel:
    viewer.window.add_plugin_dock_widget("napari-update-hook", "Plugin updates")
    qtbot.waitUntil(lambda: get_instance().session.snapshot.result is not None, timeout=PATIENCE_MS)
    found: Panel = viewer.window._qt_window.findChild(Panel)
    qtbot.waitUntil(lambda: bool(found.items()) and found.check.isEnabled(), timeout=PATIENCE_MS)
    return found


def shown_row(panel: Panel, name: str = NAME) -> tuple[str, str, str]:
    panel.choose(name)
    (item,) = panel.list.selectedItems()
    heading: Any = item.parent()
    return heading.text(0), item.text(1), panel.details.text()


def test_the_panel_shows_the_update_and_why_it_is_not_the_newest(panel: Panel, server: FakeServer, qtbot: Any) -> None:
    installed = current_client().environment.distributions[NAME].version
    server.packages = {NAME: {"latest": "99.0", "newest": "100.0", "newest_requires_python": ">=3.99"}}
    panel.check.trigger()
    qtbot.waitUntil(lambda: "100.0 needs Python &gt;=3.99; this is 3." in shown_row(panel)[2], timeout=PATIENCE_MS)
    heading, versions, details = shown_row(panel)
    assert (heading, versions) == ("Update (1)", f"{installed} → 99.0")
    assert f'href="https://pypi.org/project/{NAME}/99.0/"' in details
    assert panel.update_one.isVisible()
    assert panel.list.selectedItems()[0].data(0, ACCESSIBLE) == f"{NAME}, {installed} is installed, update to 99.0, update"


def test_withdrawn_and_vulnerable_releases_come_first(panel: Panel, server: FakeServer, qtbot: Any) -> None:
    installed = current_client().environment.distributions[NAME].version
    server.packages = {
        "napari-console": {"latest": "99.0"},
        NAME: {"latest": "99.0", "yanked": {installed: "it <b>broke</b>"}, "vulnerabilities": {installed: ["PYSEC-2026-1"]}},
    }
    panel.check.trigger()
    qtbot.waitUntil(lambda: "PYSEC-2026-1" in shown_row(panel)[2], timeout=PATIENCE_MS)
    assert shown_row(panel)[1] == f"\N{WARNING SIGN} {installed} → 99.0"
    assert [item.data(0, ROW).name for item in panel.items()] == [NAME, "napari-console"]
    assert "it &lt;b&gt;broke&lt;/b&gt;" in panel.details.text(), "text from others is escaped"


def test_an_update_can_be_snoozed_unsnoozed_and_ignored(panel: Panel, qtbot: Any) -> None:
    panel.choose(NAME)
    menu: Any = panel.snooze.menu()
    texts = [action.text() for action in menu.actions()]
    assert texts[1] == "Snooze this version for 3 weeks"
    menu.actions()[1].trigger()
    qtbot.waitUntil(lambda: panel.unsnooze.isVisible(), timeout=PATIENCE_MS)
    assert panel.chosen is not None
    assert panel.chosen.name == NAME, "the row stays selected"
    assert "snoozed until" in panel.details.text()
    panel.unsnooze.click()
    qtbot.waitUntil(lambda: panel.snooze.isVisible(), timeout=PATIENCE_MS)
    menu.actions()[texts.index("Ignore every version")].trigger()
    qtbot.waitUntil(lambda: "ignored" in panel.details.text(), timeout=PATIENCE_MS)
    (snooze,) = current_client().state.snoozes()
    assert (snooze.version, snooze.until) == ("*", None)


def test_a_check_shows_progress_without_blocking_the_window(panel: Panel, server: FakeServer, qtbot: Any) -> None:
    server.hold.clear()
    panel.check.trigger()
    assert panel.progress.isVisible()
    assert not panel.check.isEnabled()
    assert "Asking" in panel.summary.text()
    server.hold.set()
    qtbot.waitUntil(lambda: panel.check.isEnabled(), timeout=PATIENCE_MS)
    assert not panel.progress.isVisible()


def test_the_last_result_and_its_age_stay_visible_offline(panel: Panel, server: FakeServer, qtbot: Any) -> None:
    server.close()
    panel.check.trigger()
    qtbot.waitUntil(lambda: "Showing the result of" in panel.summary.text(), timeout=PATIENCE_MS)
    assert shown_row(panel)[1].endswith("→ 99.0")


def test_without_a_first_result_the_panel_shows_the_error(viewer: Any, qtbot: Any, server: FakeServer) -> None:
    server.close()
    viewer.window.add_plugin_dock_widget("napari-update-hook", "Plugin updates")
    found: Panel = viewer.window._qt_window.findChild(Panel)
    qtbot.waitUntil(lambda: "reach" in found.summary.text(), timeout=PATIENCE_MS)
    assert not found.list.isVisible()


def test_the_panel_names_the_setting_that_disables_checks(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_UPDATE_CHECK", "0")
    viewer.window.add_plugin_dock_widget("napari-update-hook", "Plugin updates")
    found: Panel = viewer.window._qt_window.findChild(Panel)
    qtbot.waitUntil(lambda: "NAPARI_UPDATE_CHECK=0" in found.summary.text(), timeout=PATIENCE_MS)
    assert not found.check.isEnabled()


def test_the_panel_shows_the_impact_of_a_napari_update(panel: Panel, server: FakeServer, qtbot: Any) -> None:
    server.packages = {NAME: {"latest": "0.1.0"}, "napari": {"latest": "99.0"}}
    panel.check.trigger()
    qtbot.waitUntil(lambda: "With napari 99.0" in shown_row(panel, "napari")[2], timeout=PATIENCE_MS)
    heading, versions, details = shown_row(panel, "napari")
    assert heading == "Held back (1)"
    assert versions.endswith("→ 99.0")
    assert "Close it, and run in its environment: napari-updates update" in details
    assert "Work without an update:" in details
    assert not panel.update_one.isVisible()


@pytest.mark.parametrize("number", [150])
def test_many_plugins_can_be_searched(panel: Panel, server: FakeServer, qtbot: Any, number: int, many: Any) -> None:
    many(number)
    qtbot.waitUntil(lambda: len(panel.items()) == number, timeout=PATIENCE_MS)
    assert panel.search.isVisible()
    panel.search.setText("-07")
    assert {item.text(0) for item in panel.items()} == {f"plugin-07{one}" for one in range(10)}
    panel.search.setText("nothing has this name")
    assert panel.items() == []
    many(3)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.result.rows[-1].name == "plugin-002", timeout=PATIENCE_MS)
    assert panel.search.isVisible(), "the search can be cleared"
    panel.search.clear()
    assert len(panel.items()) == 3


def test_the_panel_fits_beside_a_canvas(panel: Panel, viewer: Any, qtbot: Any) -> None:
    window = viewer.window._qt_window
    window.resize(1090, 800)
    window.resizeDocks([dock_of(panel)], [320], Qt.Orientation.Horizontal)
    for name in (NAME, "napari"):
        panel.choose(name)
        qtbot.wait(50)
        assert panel.layout().minimumSize().width() <= 320
        shown = [one for one in panel.findChildren(QPushButton) if one.isVisible()]
        assert all(one.width() >= one.minimumSizeHint().width() for one in shown), "no button is cut off"
        assert all(panel.rect().contains(QRect(one.mapTo(panel, QPoint(0, 0)), one.size())) for one in shown)


def test_indicator_and_menu_open_the_same_panel(viewer: Any, qtbot: Any) -> None:
    attach(viewer)
    bar = viewer.window._qt_window.statusBar()
    qtbot.waitUntil(lambda: bar.findChild(IndicatorButton).text() == "1 update", timeout=PATIENCE_MS)
    bar.findChild(IndicatorButton).click()
    (found,) = viewer.window._qt_window.findChildren(Panel)
    assert found.isVisible()
    for is_visible in (False, True):  # the menu entry shows and hides it
        get_app_model().commands.execute_command("napari-update-hook.panel").result()
        assert found.isVisible() is is_visible
    bar.findChild(IndicatorButton).click()
    assert viewer.window._qt_window.findChildren(Panel) == [found]
    assert dock_of(found).windowTitle() == "Plugin updates (napari-update-hook)"


def dock_of(panel: Panel) -> Any:
    dock: Any = panel.parentWidget()
    while not isinstance(dock, QDockWidget):
        dock = dock.parentWidget()
    return dock


def test_the_panel_does_no_io_on_the_gui_thread(panel: Panel, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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
    panel.check.trigger()
    panel.choose(NAME)
    snooze_menu: Any = panel.snooze.menu()
    snooze_menu.actions()[0].trigger()
    panel.notifies.trigger()
    qtbot.wait(2000)
    assert strays == []


def test_attaching_works_from_another_thread(viewer: Any, qtbot: Any) -> None:
    thread = threading.Thread(target=attach, args=(viewer,))
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: viewer.window._qt_window.findChild(IndicatorButton) is not None, timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.result is not None, timeout=PATIENCE_MS)


def test_telemetry_is_not_loaded_without_a_seam_file(viewer: Any, qtbot: Any) -> None:
    from napari_telemetry.plugin import instance

    attach(viewer)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.result is not None, timeout=PATIENCE_MS)
    assert instance._instance is None


def test_with_consent_telemetry_attaches_and_sends_its_report(viewer: Any, qtbot: Any, server: FakeServer) -> None:
    from napari_telemetry.plugin.instance import running_session

    from tests.support import consent

    consent.record("basic")
    attach(viewer)
    qtbot.waitUntil(lambda: running_session() is not None, timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.result is not None, timeout=PATIENCE_MS)
    assert [method for method, _, _ in server.requests] == ["GET", "GET", "POST"], "table, lists, report"
