"""The telemetry indicator follows every change."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from napari_telemetry.client import current_client
from napari_telemetry.plugin.instance import get_instance
from napari_telemetry.plugin.qt.gui import TelemetryButton
from napari_telemetry.plugin.qt.page import Panel
from napari_update_hook.plugin import worker
from napari_update_hook.plugin.instance import get_instance as hook_instance

from tests.inside_napari.attaching import attach
from tests.inside_napari.fake_server import FakeServer
from tests.inside_napari.waiting import PATIENCE_MS
from tests.support import consent


def indicator(viewer: Any) -> TelemetryButton:
    found: TelemetryButton
    (found,) = viewer.window._qt_window.statusBar().findChildren(TelemetryButton)
    return found


def shows(viewer: Any, text: str) -> Callable[[], bool]:
    return lambda: indicator(viewer).text().endswith(text)


def test_the_indicator_shows_the_effective_level(attached: Any, qtbot: Any) -> None:
    qtbot.waitUntil(shows(attached, "telemetry: off"), timeout=PATIENCE_MS)
    assert "not agreed" in indicator(attached).toolTip(), "the tooltip gives the reason"
    consent.record("basic")
    qtbot.waitUntil(shows(attached, "telemetry: basic"), timeout=PATIENCE_MS)
    consent.record("none")
    qtbot.waitUntil(shows(attached, "telemetry: off"), timeout=PATIENCE_MS)
    assert "you chose not to share" in indicator(attached).toolTip()


def test_the_indicator_follows_the_command_line(attached: Any, qtbot: Any) -> None:
    qtbot.waitUntil(shows(attached, "telemetry: off"), timeout=PATIENCE_MS)
    subprocess.run([sys.executable, "-m", "napari_telemetry", "consent", "set", "middle", "--for", "90d"], check=True)
    assert worker.REREAD_INTERVAL_S * 1000 > PATIENCE_MS, "a change seen by then was noticed, not reread by chance"
    qtbot.waitUntil(shows(attached, "telemetry: middle"), timeout=PATIENCE_MS)
    assert "ends on" in indicator(attached).toolTip()


def test_the_indicator_reports_expired_consent(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch, record_level: Callable[[str], None]
) -> None:
    consent.record("full", lasting=timedelta(days=1))
    attach(viewer)
    qtbot.waitUntil(shows(viewer, "telemetry: full"), timeout=PATIENCE_MS)
    monkeypatch.setenv("NAPARI_UPDATE_NOW", "2099-01-01T00:00:00Z")
    get_instance().session.refresh()
    qtbot.waitUntil(shows(viewer, "telemetry: off"), timeout=PATIENCE_MS)
    assert "ended" in indicator(viewer).toolTip()
    assert not get_instance().counting.is_connected


@pytest.mark.parametrize("variable", ["NAPARI_TELEMETRY", "DO_NOT_TRACK"])
def test_the_indicator_names_the_opt_out_variable(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch, record_level: Callable[[str], None], variable: str
) -> None:
    record_level("full")
    monkeypatch.setenv(variable, "0" if variable == "NAPARI_TELEMETRY" else "1")
    attach(viewer)
    qtbot.waitUntil(shows(viewer, "telemetry: off"), timeout=PATIENCE_MS)
    assert variable in indicator(viewer).toolTip()


def test_the_indicator_shows_that_a_report_is_being_sent(
    viewer: Any, qtbot: Any, record_level: Callable[[str], None], server: FakeServer
) -> None:
    record_level("basic")
    original = server.answer
    held: list[str] = []

    def slowly(path: str, method: str) -> tuple[int, Any]:
        if method == "POST":
            held.append(path)
            time.sleep(2)
        return original(path, method)

    server.answer = slowly  # type: ignore[method-assign]
    attach(viewer)
    qtbot.waitUntil(shows(viewer, "telemetry: basic, sending"), timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: len(held) == 1, timeout=PATIENCE_MS)
    assert held[0].startswith("/api/updates/basic")
    qtbot.waitUntil(shows(viewer, "telemetry: basic"), timeout=PATIENCE_MS)
    assert current_client().status().view.sent[0].receipt


def test_a_damaged_file_means_off_with_a_warning_and_advice(
    viewer: Any, qtbot: Any, record_level: Callable[[str], None], tmp_path: Path
) -> None:
    record_level("full")
    current_client().store.close()
    (tmp_path / "state" / "telemetry.sqlite3").write_bytes(b"no database" * 1000)
    attach(viewer)
    qtbot.waitUntil(lambda: "\N{WARNING SIGN}" in indicator(viewer).text(), timeout=PATIENCE_MS)
    assert indicator(viewer).text().endswith("telemetry: off")
    assert "Delete the file" in indicator(viewer).toolTip()


def test_an_invalid_address_is_reported(viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_UPDATE_SERVER", "http://example.org")
    attach(viewer)
    qtbot.waitUntil(lambda: "not encrypted" in indicator(viewer).toolTip(), timeout=PATIENCE_MS)


def test_a_click_opens_the_panel(attached: Any, qtbot: Any) -> None:
    qtbot.waitUntil(lambda: indicator(attached).isVisible(), timeout=PATIENCE_MS)
    indicator(attached).click()
    panels = attached.window._qt_window.findChildren(Panel)
    assert len(panels) == 1
    assert panels[0].isVisible()
    indicator(attached).click()
    assert len(attached.window._qt_window.findChildren(Panel)) == 1, "it is brought to the front, not opened twice"


def test_sessions_end_with_the_last_viewer_and_start_again(viewer: Any, make_napari_viewer: Any, qtbot: Any) -> None:
    attach(viewer)
    first = [hook_instance(), get_instance()]
    qtbot.waitUntil(lambda: all(one.session.is_running for one in first), timeout=PATIENCE_MS)
    viewer.close()
    qtbot.waitUntil(lambda: not any(one.session.is_running for one in first), timeout=PATIENCE_MS)
    for one in first:
        one.session._thread.join(15)
        assert not one.session._thread.is_alive()
    second = make_napari_viewer(show=True)
    attach(second)
    qtbot.waitUntil(shows(second, "telemetry: off"), timeout=PATIENCE_MS)
    assert hook_instance() is not first[0]


def test_each_window_has_its_own_indicator(attached: Any, make_napari_viewer: Any, qtbot: Any) -> None:
    second = make_napari_viewer(show=True)
    attach(second)
    qtbot.waitUntil(shows(second, "telemetry: off"), timeout=PATIENCE_MS)
    second.close()
    consent.record("basic")
    qtbot.waitUntil(shows(attached, "telemetry: basic"), timeout=PATIENCE_MS)
    third = make_napari_viewer(show=True)
    attach(third)
    qtbot.waitUntil(shows(third, "telemetry: basic"), timeout=PATIENCE_MS)
