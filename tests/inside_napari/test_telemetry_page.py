"""The telemetry page."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from napari_telemetry.client import current_client
from napari_telemetry.plugin.instance import get_instance as get_telemetry
from napari_telemetry.plugin.qt.page import Panel
from napari_update_hook.plugin.instance import get_instance
from qtpy.QtWidgets import QMessageBox

from tests.inside_napari.fake_server import FakeServer
from tests.inside_napari.waiting import PATIENCE_MS, shown
from tests.support import consent


@pytest.fixture
def panel(viewer: Any, qtbot: Any, record_level: Callable[[str], None]) -> Panel:
    record_level("none")
    viewer.window.add_plugin_dock_widget("napari-telemetry", "Telemetry")
    qtbot.waitUntil(lambda: get_telemetry().session.snapshot.status is not None, timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.result is not None, timeout=PATIENCE_MS)
    found: Panel = viewer.window._qt_window.findChild(Panel)
    return found


def test_the_page_shows_the_answer_and_the_next_report(panel: Panel, qtbot: Any) -> None:
    consent.record("middle", lasting=timedelta(days=90))
    qtbot.waitUntil(lambda: '"level": "middle"' in panel.preview.toPlainText(), timeout=PATIENCE_MS)
    facts = dict(panel.lines)
    assert facts["Your answer"].startswith("middle for http")
    consent.record("full")
    qtbot.waitUntil(lambda: '"level": "full"' in panel.preview.toPlainText(), timeout=PATIENCE_MS)


def test_sent_reports_are_shown_in_full_with_the_receipt(panel: Panel, server: FakeServer, qtbot: Any) -> None:
    import json

    consent.record("basic")
    get_instance().session.check()
    qtbot.waitUntil(lambda: "receipt {" in panel.sent.toPlainText(), timeout=PATIENCE_MS)
    (body,) = [body for method, _, body in server.requests if method == "POST"]
    text = panel.sent.toPlainText()
    assert json.loads(text[text.index("{") : text.index("\nreceipt")]) == json.loads(body)
    identifier = json.loads(body)["report"]["identifier"]
    assert identifier in panel.ids.toPlainText()


@pytest.mark.promise("off-in-napari")
def test_withdrawing_takes_one_click(panel: Panel, qtbot: Any) -> None:
    consent.record("full")
    qtbot.waitUntil(panel.off.isEnabled, timeout=PATIENCE_MS)
    panel.off.click()
    qtbot.waitUntil(lambda: current_client().status().view.history[-1].level.value == "none", timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: not panel.off.isEnabled(), timeout=PATIENCE_MS)


def test_reports_on_servers_can_be_found_and_deleted(panel: Panel, server: FakeServer, qtbot: Any) -> None:
    consent.record("basic")
    get_instance().session.check()
    qtbot.waitUntil(lambda: len(current_client().status().view.sent) == 1, timeout=PATIENCE_MS)
    panel.ask.click()
    qtbot.waitUntil(lambda: "0 reports" in panel.copies.toPlainText(), timeout=PATIENCE_MS)
    panel.forget.click()
    (box,) = shown(QMessageBox)
    assert box.defaultButton() is box.button(QMessageBox.StandardButton.No)
    yes = box.button(QMessageBox.StandardButton.Yes)
    assert yes is not None
    yes.click()
    qtbot.waitUntil(lambda: "Deleted on servers: 1 report" in panel.outcome.text(), timeout=PATIENCE_MS)
    assert current_client().status().view.sent == []
    assert any(path == "/api/reports/delete" for _, path, _ in server.requests)


def test_the_page_does_no_io_on_the_gui_thread(panel: Panel, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
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
    for button in (panel.off, panel.ask, panel.change):
        button.click()
    qtbot.wait(2000)
    assert strays == []
