"""The panel: updates with what to do about them, and everything about telemetry."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from napari_telemetry import consent
from napari_telemetry.api import client_here
from napari_telemetry.plugin import attach
from napari_telemetry.plugin.attachment import attachment
from napari_telemetry.plugin.qt.indicator import IndicatorButton
from napari_telemetry.plugin.qt.panel import Panel
from qtpy.QtWidgets import QApplication, QMessageBox

from tests.inside_napari.made_server import MadeServer
from tests.inside_napari.waiting import PATIENCE_MS, shown

NAME = "napari-svg"


@pytest.fixture
def panel(viewer: Any, qtbot: Any, answered: Callable[[str], None]) -> Panel:
    """The panel, opened as a person opens it, after the first check."""
    answered("none")
    viewer.window.add_plugin_dock_widget("napari-telemetry", "Updates and telemetry")
    qtbot.waitUntil(lambda: attachment().session.snapshot.result is not None, timeout=PATIENCE_MS)
    found: Panel = viewer.window._qt_window.findChild(Panel)
    qtbot.waitUntil(lambda: found.updates.table.rowCount() > 0 and found.updates.check.isEnabled(), timeout=PATIENCE_MS)
    return found


def row(panel: Panel, name: str) -> list[str]:
    table = panel.updates.table
    names = [table.item(number, 0).text() for number in range(table.rowCount())]
    return [table.item(names.index(name), column).text() for column in range(5)]


def test_it_shows_what_fits_what_is_newest_and_why_not(panel: Panel, server: MadeServer, qtbot: Any) -> None:
    server.packages = {NAME: {"latest": "99.0", "newest": "100.0", "newest_requires_python": ">=3.99"}}
    panel.updates.check.click()
    qtbot.waitUntil(lambda: row(panel, NAME)[3] == "100.0", timeout=PATIENCE_MS)
    name, installed, fits, newest, note = row(panel, NAME)
    assert (name, newest) == (NAME, "100.0")
    assert installed[0].isdigit()
    assert fits.endswith("99.0")
    assert "100.0 needs Python >=3.99; this is 3." in note


def test_withdrawn_and_vulnerable_releases_are_marked(panel: Panel, server: MadeServer, qtbot: Any) -> None:
    installed = client_here().client.environment.distributions[NAME].version
    server.packages = {
        NAME: {"latest": "99.0", "yanked": {installed: "it broke"}, "vulnerabilities": {installed: ["PYSEC-2026-1"]}}
    }
    panel.updates.check.click()
    qtbot.waitUntil(lambda: "it broke" in row(panel, NAME)[4], timeout=PATIENCE_MS)
    assert "PYSEC-2026-1" in row(panel, NAME)[4]
    assert "\N{WARNING SIGN}" in row(panel, NAME)[1]


def test_the_install_command_is_copied(panel: Panel) -> None:
    panel.updates.choose(NAME)
    panel.updates.copy.click()
    copied = QApplication.clipboard().text()
    assert copied.endswith(f"{NAME}==99.0")
    assert copied in panel.updates.how.text()


def test_snoozed_ignored_and_heard_of_again(panel: Panel, qtbot: Any) -> None:
    panel.updates.choose(NAME)
    menu: Any = panel.updates.silence.menu()
    texts = [action.text() for action in menu.actions()]
    assert texts[1] == "Snooze this version for 3 weeks"
    menu.actions()[1].trigger()
    qtbot.waitUntil(lambda: "snoozed until" in row(panel, NAME)[4], timeout=PATIENCE_MS)
    assert panel.updates.chosen is not None
    assert panel.updates.chosen.name == NAME, "the line stays chosen"
    panel.updates.hear.click()
    qtbot.waitUntil(lambda: "snoozed" not in row(panel, NAME)[4], timeout=PATIENCE_MS)
    menu.actions()[texts.index("Ignore every version")].trigger()
    qtbot.waitUntil(lambda: "ignored" in row(panel, NAME)[4], timeout=PATIENCE_MS)
    (snooze,) = client_here().store.snoozes.all()
    assert (snooze.version, snooze.until) == ("*", None)


def test_a_check_shows_that_it_is_under_way_and_never_stops_the_window(panel: Panel, server: MadeServer, qtbot: Any) -> None:
    server.hold.clear()
    panel.updates.check.click()
    assert panel.updates.progress.isVisible()
    assert not panel.updates.check.isEnabled()
    assert "Asking" in panel.updates.summary.text()
    panel.pages.setCurrentIndex(1)
    panel.pages.setCurrentIndex(0)
    server.hold.set()
    qtbot.waitUntil(lambda: panel.updates.check.isEnabled(), timeout=PATIENCE_MS)
    assert not panel.updates.progress.isVisible()


def test_what_waits_to_be_drawn_is_not_drawn_over_what_is_newer(panel: Panel, server: MadeServer, qtbot: Any) -> None:
    session, done = attachment().session, threading.Event()
    session.run(lambda: session._tasks.change(progress="what a thread publishes"))
    session.run(done.set)
    assert done.wait(10)  # this is the GUI thread: it waits to be drawn
    server.hold.clear()
    try:
        panel.updates.check.click()
        qtbot.wait(300)
        assert panel.updates.progress.isVisible()
        assert not panel.updates.check.isEnabled()
    finally:
        server.hold.set()


def test_offline_the_last_answer_stays_with_its_age(panel: Panel, server: MadeServer, qtbot: Any) -> None:
    server.close()
    panel.updates.check.click()
    qtbot.waitUntil(lambda: "This is the answer of" in panel.updates.summary.text(), timeout=PATIENCE_MS)
    assert row(panel, NAME)[2].endswith("99.0")


def test_before_the_first_answer_it_says_what_to_do(viewer: Any, qtbot: Any, server: MadeServer) -> None:
    server.close()
    viewer.window.add_plugin_dock_widget("napari-telemetry", "Updates and telemetry")
    found: Panel = viewer.window._qt_window.findChild(Panel)
    qtbot.waitUntil(lambda: "reach" in found.updates.summary.text(), timeout=PATIENCE_MS)
    assert not found.updates.table.isVisible()


def test_where_the_check_is_switched_off_it_says_by_whom(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_UPDATE_CHECK", "0")
    viewer.window.add_plugin_dock_widget("napari-telemetry", "Updates and telemetry")
    found: Panel = viewer.window._qt_window.findChild(Panel)
    qtbot.waitUntil(lambda: "NAPARI_UPDATE_CHECK=0" in found.updates.summary.text(), timeout=PATIENCE_MS)
    assert not found.updates.check.isEnabled()


def test_the_plugin_manager_opens_at_the_plugin(panel: Panel, viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_plugin_manager import qt_plugin_dialog

    monkeypatch.setattr(qt_plugin_dialog.QtPluginDialog, "_fetch_available_plugins", lambda *_, **__: None)
    panel.updates.choose(NAME)
    panel.updates.manager.click()
    opened = viewer.window._qt_window._plugin_dialog
    qtbot.waitUntil(opened.isVisible, timeout=PATIENCE_MS)
    assert opened.packages_search.text() == NAME
    opened.hide()
    opened.deleteLater()


def test_the_telemetry_page_says_what_was_answered_and_shows_what_goes_out(panel: Panel, qtbot: Any) -> None:
    panel.pages.setCurrentIndex(1)
    consent.record("middle", lasting="90d")
    qtbot.waitUntil(lambda: '"level": "middle"' in panel.telemetry.preview.toPlainText(), timeout=PATIENCE_MS)
    facts = dict(panel.telemetry._facts)
    assert facts["Your answer"].startswith("middle, until 20")
    consent.record("full")
    qtbot.waitUntil(lambda: '"level": "full"' in panel.telemetry.preview.toPlainText(), timeout=PATIENCE_MS)


def test_what_was_sent_is_shown_whole_with_the_receipt(panel: Panel, server: MadeServer, qtbot: Any) -> None:
    import json

    consent.record("basic")
    panel.pages.setCurrentIndex(1)
    panel.updates.check.click()
    qtbot.waitUntil(lambda: "Receipt: {" in panel.telemetry.sent.toPlainText(), timeout=PATIENCE_MS)
    (body,) = [body for method, _, body in server.requests if method == "POST"]
    text = panel.telemetry.sent.toPlainText()
    assert json.loads(text[text.index("{") : text.index("\nReceipt")]) == json.loads(body)
    identifier = json.loads(body)["report"]["identifier"]
    assert identifier in panel.telemetry.ids.toPlainText()


@pytest.mark.promise("off-in-napari")
def test_withdrawing_takes_one_click(panel: Panel, qtbot: Any) -> None:
    consent.record("full")
    qtbot.waitUntil(panel.telemetry.withdraw.isEnabled, timeout=PATIENCE_MS)
    panel.telemetry.withdraw.click()
    qtbot.waitUntil(lambda: consent.history()[-1].level.value == "none", timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: not panel.telemetry.withdraw.isEnabled(), timeout=PATIENCE_MS)


def test_servers_are_asked_and_everything_is_forgotten(panel: Panel, server: MadeServer, qtbot: Any) -> None:
    consent.record("basic")
    panel.pages.setCurrentIndex(1)
    panel.updates.check.click()
    qtbot.waitUntil(lambda: len(client_here().store.sendings.sent()) == 1, timeout=PATIENCE_MS)
    panel.telemetry.ask.click()
    qtbot.waitUntil(lambda: "0 reports" in panel.telemetry.copies.toPlainText(), timeout=PATIENCE_MS)
    panel.telemetry.forget.click()
    (box,) = shown(QMessageBox)
    assert box.defaultButton() is box.button(QMessageBox.StandardButton.No)
    yes = box.button(QMessageBox.StandardButton.Yes)
    assert yes is not None
    yes.click()
    qtbot.waitUntil(lambda: "1 report was deleted" in panel.telemetry.outcome.text(), timeout=PATIENCE_MS)
    assert client_here().store.sendings.sent() == []
    assert any(path == "/api/reports/delete" for _, path, _ in server.requests)


def test_nothing_of_it_touches_files_or_the_network_on_the_gui_thread(
    panel: Panel, qtbot: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sqlite3
    import threading

    import httpx

    gui_thread = threading.current_thread()
    strays: list[str] = []
    connect, send = sqlite3.connect, httpx.Client.send

    def watched_connect(*args: Any, **kwargs: Any) -> Any:
        strays.extend(["sqlite"] if threading.current_thread() is gui_thread else [])
        return connect(*args, **kwargs)

    def watched_send(*args: Any, **kwargs: Any) -> Any:
        strays.extend(["network"] if threading.current_thread() is gui_thread else [])
        return send(*args, **kwargs)

    monkeypatch.setattr(sqlite3, "connect", watched_connect)
    monkeypatch.setattr(httpx.Client, "send", watched_send)
    panel.updates.check.click()
    panel.updates.choose(NAME)
    snooze_menu: Any = panel.updates.silence.menu()
    snooze_menu.actions()[0].trigger()
    panel.pages.setCurrentIndex(1)
    for button in (panel.telemetry.withdraw, panel.telemetry.ask, panel.telemetry.change):
        button.click()
    qtbot.wait(2000)
    assert strays == []


def test_attaching_from_another_thread_is_done_on_the_right_one(viewer: Any, qtbot: Any) -> None:
    thread = threading.Thread(target=attach, args=(viewer,))
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: viewer.window._qt_window.findChild(IndicatorButton) is not None, timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: attachment().session.snapshot.result is not None, timeout=PATIENCE_MS)
