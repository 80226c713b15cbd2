"""Updates from the panel, through the plugin manager's queue and a subprocess."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from napari.utils.notifications import notification_manager
from napari_update_hook.client import current_client
from napari_update_hook.dry_run import verify
from napari_update_hook.plugin.instance import get_instance
from napari_update_hook.plugin.qt.indicator import IndicatorButton
from napari_update_hook.plugin.qt.panel import Panel
from napari_update_hook.plugin.runner import Runner
from napari_update_hook.plugin.tasks import Task

from tests.inside_napari.fake_server import FakeServer
from tests.inside_napari.waiting import PATIENCE_MS
from tests.support.wheels import WheelIndex, make_wheel

pytest.importorskip("napari_plugin_manager", reason="install napari-plugin-manager")
from napari_plugin_manager.base_qt_package_installer import InstallerQueue
from qtpy.QtCore import QProcess

INSTALLING_MS = 120_000


@pytest.fixture
def affinder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: FakeServer) -> Iterator[WheelIndex]:
    """Install affinder 0.4.0 and serve 0.5.0 from a package index."""
    folder = tmp_path / "wheels"
    for version in ("0.4.0", "0.5.0"):
        make_wheel(folder, "affinder", version)
    index = WheelIndex(folder)
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    for name, value in {"INDEX_URL": index.url, "CONFIG_FILE": os.devnull, "NO_CACHE_DIR": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    pip("install", "affinder==0.4.0")
    server.packages = {"affinder": {"latest": "0.5.0"}, "napari": {"latest": "0.1.0"}}
    yield index
    index.allow_downloads.set()
    pip("uninstall", "-y", "affinder")
    index.close()


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "-q", *arguments], check=True)


@pytest.fixture
def panel(affinder: WheelIndex, viewer: Any, qtbot: Any) -> Panel:
    viewer.window.add_plugin_dock_widget("napari-update-hook", "Plugin updates")
    found: Panel = viewer.window._qt_window.findChild(Panel)
    get_instance().session.check()
    qtbot.waitUntil(lambda: "affinder" in [item.text(0) for item in found.items()], timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: found.update_all.isEnabled(), timeout=PATIENCE_MS)
    found.choose("affinder")
    return found


def task() -> Task:
    found: Task | None = get_instance().session.snapshot.task
    assert found is not None
    return found


def wait_for_task(qtbot: Any) -> Task:
    qtbot.waitUntil(lambda: not task().is_running, timeout=INSTALLING_MS)
    return task()


@pytest.mark.parametrize("by", ["queue", "process"])
def test_a_plugin_update_is_done_and_undone(panel: Panel, qtbot: Any, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    if by == "process":
        monkeypatch.setattr(get_instance().session, "make_runner", Runner)
    queued = record_queue(monkeypatch)
    panel.update_one.click()
    assert task().is_running
    assert not panel.update_all.isEnabled()
    done = wait_for_task(qtbot)
    assert (done.outcome, done.has_failed) == ("Installed affinder 0.5.0. Restart napari to use it.", False), done.log
    assert metadata.version("affinder") == "0.5.0"
    assert any("Successfully installed affinder-0.5.0" in line for line in done.log)
    qtbot.waitUntil(lambda: panel.undo.isEnabled() and panel.task.undo.isVisible(), timeout=PATIENCE_MS)
    assert [item.text(1) for item in panel.items() if item.text(0) == "affinder"] == ["0.5.0"], "the panel is updated"
    panel.task.undo.click()
    back = wait_for_task(qtbot)
    assert back.outcome == "Restored affinder 0.4.0. Restart napari to use it.", back
    assert metadata.version("affinder") == "0.4.0"
    qtbot.waitUntil(lambda: not panel.undo.isEnabled(), timeout=PATIENCE_MS)
    assert [packages[-1] for packages in queued] == (["affinder==0.5.0", "affinder==0.4.0"] if by == "queue" else [])


def record_queue(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Record the queue's packages, affinder last."""
    told: list[tuple[str, ...]] = []
    install = InstallerQueue.install

    def watched(self: Any, tool: Any, pkgs: Any, **options: Any) -> Any:
        told.append(tuple(sorted(pkgs, key=lambda one: one.startswith("affinder"))))
        return install(self, tool, pkgs, **options)

    monkeypatch.setattr(InstallerQueue, "install", watched)
    return told


def test_a_dry_run_reports_changes_and_installs_nothing(panel: Panel, qtbot: Any) -> None:
    panel.try_one.click()
    assert wait_for_task(qtbot).outcome == "The dry run succeeded. Nothing else changes."
    assert metadata.version("affinder") == "0.4.0"


def test_installs_by_another_process_are_noticed(panel: Panel, qtbot: Any) -> None:
    pip("install", "affinder==0.5.0")
    qtbot.waitUntil(lambda: "Up to date (2)" in [item.parent().text(0) for item in panel.items()], timeout=PATIENCE_MS)


def start_and_stall_update(panel: Panel, qtbot: Any, monkeypatch: pytest.MonkeyPatch, index: WheelIndex) -> None:
    """Press *Update* and wait until pip's download hangs."""

    def then_hold(*arguments: Any, **options: Any) -> Any:
        found = verify(*arguments, **options)
        index.allow_downloads.clear()
        return found

    monkeypatch.setattr("napari_update_hook.plugin.tasks.verify", then_hold)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children inherit an ignored SIGINT
    panel.update_one.click()
    qtbot.waitUntil(lambda: index.is_waiting, timeout=INSTALLING_MS)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot interrupt a tool")
@pytest.mark.parametrize("by", ["queue", "process"])
def test_cancelling_pip_changes_nothing(
    panel: Panel, qtbot: Any, affinder: WheelIndex, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    if by == "process":
        monkeypatch.setattr(get_instance().session, "make_runner", Runner)
    start_and_stall_update(panel, qtbot, monkeypatch, affinder)
    panel.task.cancel.click()
    assert not panel.task.cancel.isEnabled()
    done = wait_for_task(qtbot)
    assert done.outcome == "The installation failed: it was cancelled.\nNothing was changed."
    assert "Operation cancelled by user" in " ".join(done.log)
    assert metadata.version("affinder") == "0.4.0"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot interrupt a tool")
def test_the_window_stays_open_during_an_installation(
    panel: Panel, viewer: Any, qtbot: Any, affinder: WheelIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = viewer.window._qt_window
    start_and_stall_update(panel, qtbot, monkeypatch, affinder)
    notification_manager.records.clear()
    assert not window.close()
    assert window.isVisible()
    assert "Wait until the update is done" in str(notification_manager.records[-1].message)
    assert window.findChild(IndicatorButton).text() == "Updating…"
    panel.task.cancel.click()
    wait_for_task(qtbot)
    qtbot.waitUntil(lambda: window.findChild(IndicatorButton).text() == "1 update", timeout=PATIENCE_MS)


def test_no_update_while_the_plugin_manager_is_installing(panel: Panel, viewer: Any, qtbot: Any) -> None:
    """The queue forgets a cancelled job whose tool still runs."""
    queue = InstallerQueue(parent=viewer.window._qt_window)
    theirs = QProcess(queue)
    theirs.start(sys.executable, ["-c", "import time; time.sleep(300)"])
    assert theirs.waitForStarted()
    panel.update_one.click()
    assert "The plugin manager is installing something. Try again when it has finished." in wait_for_task(qtbot).outcome
    assert metadata.version("affinder") == "0.4.0"
    theirs.kill()
    theirs.waitForFinished()


def test_no_update_while_another_process_is_installing(panel: Panel, qtbot: Any) -> None:
    with current_client().state.installing():
        panel.update_one.click()
        assert wait_for_task(qtbot).outcome.startswith("Another program is installing updates in this environment.")
    assert metadata.version("affinder") == "0.4.0"


def test_a_failure_quotes_the_tool_and_describes_the_environment(
    panel: Panel, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_offline(*arguments: Any, **options: Any) -> Any:
        found = verify(*arguments, **options)
        os.environ["PIP_INDEX_URL"] = "http://127.0.0.1:1/simple"
        os.environ["PIP_RETRIES"] = "0"
        return found

    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setattr("napari_update_hook.plugin.tasks.verify", then_offline)
    panel.update_one.click()
    done = wait_for_task(qtbot)
    assert done.has_failed
    assert "pip ended with exit code 1. Last output:" in done.outcome
    assert "ERROR: No matching distribution found for affinder==0.5.0" in done.outcome
    assert done.outcome.endswith("Nothing was changed.")


def test_updates_work_without_the_plugin_manager(panel: Panel, qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "napari_update_hook.plugin.qt.queue_runner", None)
    panel.update_all.click()
    assert wait_for_task(qtbot).outcome.startswith("Installed affinder 0.5.0.")
