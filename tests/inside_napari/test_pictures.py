"""Pictures of all that is drawn, in both themes, for people to look at: CI keeps them, and docs/inside-napari.md shows them.

``TEST_PICTURES`` names the folder; else they go to a temporary one. What can be told without a look is asserted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari_telemetry.client import client_here
from napari_telemetry.plugin.qt.consent_dialog import ConsentDialog
from napari_telemetry.plugin.qt.gui import TelemetryButton
from napari_telemetry.plugin.qt.page import Panel as TelemetryPanel
from napari_telemetry.wire import Level
from napari_update_hook import offer
from napari_update_hook.plugin.instance import get_instance
from napari_update_hook.plugin.qt.indicator import IndicatorButton as UpdatesButton
from napari_update_hook.plugin.qt.offer_dialog import OfferDialog
from napari_update_hook.plugin.qt.panel import Panel
from qtpy.QtWidgets import QLabel, QWidget

from tests.inside_napari.attaching import attach
from tests.inside_napari.made_server import MadeServer
from tests.inside_napari.waiting import PATIENCE_MS, shown


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., None]:
    """Save a picture of a widget, or of ``part`` of it, which must show something."""
    folder = Path(os.environ.get("TEST_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def save(widget: QWidget, name: str, part: QWidget | None = None) -> None:
        picture = widget.grab(part.geometry()) if part is not None else widget.grab()
        assert picture.save(str(folder / f"{name}.png"))
        image = picture.toImage()
        colours = {image.pixel(x, y) for x in range(0, image.width(), 3) for y in range(0, image.height(), 3)}
        assert len(colours) > 4, "it shows nothing"

    return save


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_dialog_indicator_and_panel(
    viewer: Any, qtbot: Any, server: MadeServer, theme: str, save: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/home/me/napari/bin/python")  # it stands in a picture that others see
    installed = client_here().environment.distributions
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
    qtbot.waitUntil(lambda: client_here().status().view.consent is not None, timeout=PATIENCE_MS)
    button = window.findChild(TelemetryButton)
    qtbot.waitUntil(lambda: button.text().endswith("middle"), timeout=PATIENCE_MS)
    window.findChild(UpdatesButton).click()
    panel = window.findChild(Panel)
    panel.choose("napari-svg")
    qtbot.wait(400)
    save(window, f"updates-{theme}")
    save(window, f"indicator-{theme}", window.statusBar())
    button.click()
    page = window.findChild(TelemetryPanel)
    qtbot.waitUntil(lambda: page.preview.toPlainText().startswith("{"), timeout=PATIENCE_MS)
    get_instance().session.check()
    qtbot.waitUntil(lambda: len(client_here().status().view.sent) == 1, timeout=PATIENCE_MS)
    page.views.setCurrentIndex(1)
    qtbot.wait(400)
    save(window, f"telemetry-{theme}")
    labels = [label for label in window.findChildren(QLabel) if label.isVisible() and label.text() and label.window() is window]
    ours = [label for label in labels if panel.isAncestorOf(label) or page.isAncestorOf(label)]
    assert ours
    assert all(label.height() >= label.fontMetrics().height() for label in ours), "none is cut off"


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_explanation_of_usage_reports(
    viewer: Any, qtbot: Any, theme: str, save: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offer, "IS_OWNED", True)
    viewer.theme = theme
    attach(viewer)
    get_instance().gui().explain_telemetry()
    qtbot.wait(300)
    (dialog,) = shown(OfferDialog)
    save(dialog, f"offer-{theme}")
