"""Telemetry from a real napari to the real service: exactly the actual usage arrives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import clean_environment, running_server
from tests.support.sample_upstream import FakeUpstream
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

USAGE_SCRIPT = """
import os, sys
if sys.platform == "linux" and not os.environ.get("DISPLAY"):
    from pyvirtualdisplay import Display
    Display(size=(1000, 800)).start()
import numpy
import napari
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from napari_update_hook.plugin import starting
from napari_telemetry.plugin.instance import get_instance

starting.attach_to_every_viewer()
viewer = napari.Viewer()

def use():
    if not get_instance().counting.is_connected:
        QTimer.singleShot(100, use)
        return
    viewer.add_image(numpy.zeros((64, 64), dtype="uint8"), name="SECRET patient 42")
    viewer.window.view_menu.findAction("napari.window.view.toggle_activity_dock").trigger()
    QTimer.singleShot(200, QApplication.quit)

QTimer.singleShot(100, use)
napari.run()
"""


@pytest.mark.skipif(
    sys.platform == "linux" and not os.environ.get("DISPLAY") and shutil.which("Xvfb") is None,
    reason="needs a display or Xvfb: apt-get install xvfb and the packages in .ci/run",
)
def test_service_receives_only_what_was_done_in_napari(napari_python: Path, tmp_path: Path) -> None:
    with FakeUpstream().served() as upstream, running_server(tmp_path / "data", UPDATE_SERVER_UPSTREAM=upstream) as server:
        wait_until(lambda: server.get("/health/ready").json()["index"]["origin"] == "refresh", server.log.read_text)
        environment = clean_environment() | {
            "HOME": str(tmp_path),
            "NAPARI_CONFIG": str(tmp_path / "settings.yaml"),
            "NAPARI_UPDATE_STATE": str(tmp_path / "state"),
            "NAPARI_UPDATE_SERVER": server.url,
        }

        def run(*arguments: str) -> str:
            answer = subprocess.run(
                [napari_python, *arguments], env=environment, capture_output=True, text=True, timeout=180, check=False
            )
            assert answer.returncode in (0, 10), answer.stdout + answer.stderr
            return answer.stdout

        updates, telemetry = ("-m", "napari_update_hook"), ("-m", "napari_telemetry")
        run(*updates, "check")
        run(*telemetry, "consent", "set", "full")
        run("-c", USAGE_SCRIPT)
        run(*updates, "check")
        (copy,) = json.loads(run(*telemetry, "server-copy", "--json"))
        (stored,) = copy["reports"]
        report: dict[str, Any] = stored["report"]
    assert stored["level"] == "full"
    assert report["command_usage"] == {"napari.window.view.toggle_activity_dock": 1}
    (layer,) = report["data_size_info"]
    assert (layer["layer"], layer["class"], layer["dtype"], layer["size_category"]) == ("image", "ndarray", "uint8", "SMALL")
    assert "SECRET" not in json.dumps(copy)
    for path in (tmp_path / "data").rglob("*"):
        assert not path.is_file() or b"SECRET" not in path.read_bytes()
