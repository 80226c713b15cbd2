"""A real viewer, with isolated settings, state and server."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

if not os.environ.get("DISPLAY") and shutil.which("Xvfb") is None and sys.platform == "linux":
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
# napari's fixtures write settings; keep them out of the user's own
_OWN = tempfile.mkdtemp(prefix="napari-settings-")
os.environ["NAPARI_CONFIG"] = str(Path(_OWN) / "settings.yaml")

import napari
import napari.settings
from napari_telemetry import client as clients
from napari_telemetry.client import current_client
from napari_telemetry.plugin import counting
from napari_telemetry.plugin import instance as telemetry
from napari_telemetry.plugin.qt import gui as guis
from napari_update_hook.environment import Distribution, read_environment
from napari_update_hook.plugin import instance as instances
from napari_update_hook.settings import UNATTENDED_VARIABLES
from npe2 import PluginManager, PluginManifest
from qtpy.QtWidgets import QApplication, QDialog

from tests.inside_napari.fake_server import FakeServer

collect_ignore = [] if hasattr(napari.settings, "get_plugin_settings") else ["test_preferences.py"]
"""napari 0.9 added plugin pages to its Preferences."""
OWN_PREFIXES = ("NAPARI_UPDATE_", "NAPARI_TELEMETRY", "DO_NOT_TRACK")


@pytest.fixture(scope="session", autouse=True)
def _preload_client_and_clean_up() -> Iterator[None]:
    current_client()  # load it now, not while a test waits for the first session
    yield
    shutil.rmtree(_OWN, ignore_errors=True)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    made = FakeServer()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: FakeServer) -> Iterator[None]:
    for name in list(os.environ):
        if name in UNATTENDED_VARIABLES or name.startswith(OWN_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NAPARI_UPDATE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("NAPARI_UPDATE_SERVER", server.url)
    monkeypatch.setattr(counting, "APPLICATION", "test_app")  # the application name in napari's test fixtures
    monkeypatch.setattr(guis, "ASK_AFTER_MS", 300)
    monkeypatch.setattr(guis, "BUSY_RETRY_MS", 100)
    monkeypatch.setattr("napari_update_hook.plugin.session.FIRST_CHECK_AFTER_S", 0.2)
    monkeypatch.setattr("napari_update_hook.plugin.worker.POLL_INTERVAL_S", 0.1)
    monkeypatch.setattr(telemetry, "_instance", None)
    monkeypatch.setattr(instances, "_instance", None)
    clients.shared_store.cache_clear()
    yield
    if (hook := instances._instance) is not None:
        hook.end()
        if hook.session._thread is not None:
            hook.session._thread.join(15)
    if (made := telemetry._instance) is not None:
        made.end()
        if made.session._thread is not None:
            made.session._thread.join(15)
    application: Any = QApplication.instance()
    for widget in application.topLevelWidgets() if application is not None else ():
        if isinstance(widget, QDialog):
            widget.close()


@pytest.fixture
def record_level() -> Callable[[str], None]:
    def record(level: str) -> None:
        from napari_telemetry.wire import Level

        current_client().set_consent(Level(level), means="test")

    return record


@pytest.fixture
def viewer(request: pytest.FixtureRequest, npe2pm: Any, make_napari_viewer: Any) -> Any:
    """Return a viewer with both plugins registered, but not attached."""
    with contextlib.suppress(pytest.FixtureLookupError):  # exists since napari 0.9; resets plugin settings
        request.getfixturevalue("plugin_settings")
    for name in ("napari-update-hook", "napari-telemetry"):
        npe2pm.register(PluginManifest.from_distribution(name))
    made = make_napari_viewer(show=True)
    assert PluginManager.instance() is not None
    return made


@pytest.fixture
def attached(viewer: Any) -> Any:
    from tests.inside_napari.attaching import attach

    attach(viewer)
    return viewer


@pytest.fixture
def many(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that simulates many installed plugins, two thirds with an update."""

    def install(number: int) -> None:
        plugins = [Distribution(f"plugin-{one:03}", "1.0", ("napari>=0.4",), "pip", is_plugin=True) for one in range(number)]
        here = read_environment()
        distributions = {**here.distributions, **{one.name: one for one in plugins}}
        monkeypatch.setattr("napari_update_hook.client.read_environment", lambda: replace(here, distributions=distributions))
        server.packages = {one.name: {"latest": "2.0" if place % 3 else "1.0"} for place, one in enumerate(plugins)}
        instances.get_instance().session.check()

    return install


PASSED: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        PASSED.add(report.nodeid.partition("[")[0].removeprefix("tests/"))


def _promised_tests() -> set[str]:
    """Return the tests of promises that this napari version can run."""
    page = (Path(__file__).parents[2] / "docs" / "promises.md").read_text("utf-8")
    named = set(re.findall(r"`(inside_napari/\w+\.py::\w+)`", page))
    return {name for name in named if name.partition("/")[2].partition("::")[0] not in collect_ignore}


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail on a skipped test or an unverified promise if TEST_NOTHING_SKIPPED is set (CI)."""
    is_whole = session.config.args == ["tests/inside_napari"]
    if os.environ.get("TEST_NOTHING_SKIPPED") and is_whole and (missing := _promised_tests() - PASSED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"privacy promises not verified: {', '.join(sorted(missing))} did not pass")
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("TEST_NOTHING_SKIPPED") and exitstatus == pytest.ExitCode.OK and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line("tests were skipped, which TEST_NOTHING_SKIPPED forbids", red=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Add the sessions' state to failure reports: tracebacks do not show other threads."""
    report = yield
    if report.when != "teardown" and report.failed and telemetry._instance is not None:
        report.sections.append(("Session state", state_of(telemetry._instance)))
    return report


def state_of(instance: telemetry.PluginInstance) -> str:
    gui = instance._gui
    hook = instances._instance
    lines = [repr(instance.session.snapshot), repr(hook and hook.session.snapshot)]
    if gui is not None:
        modal, popup = QApplication.activeModalWidget(), QApplication.activePopupWidget()
        waits = f"timer={gui._timer.isActive()} window={gui.front_window()} busy={gui.is_busy()}"
        lines.append(f"{waits} modal={modal} popup={popup}")
    for thread in threading.enumerate():
        frame = sys._current_frames().get(thread.ident or 0)
        lines.append(f"{thread.name}:\n{''.join(traceback.format_stack(frame)[-6:]) if frame is not None else ''}")
    return "\n".join(lines)
