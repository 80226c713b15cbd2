"""Closing napari does not wait for the network and loses no counts."""

from __future__ import annotations

import sys
from pathlib import Path

from napari_telemetry.client import current_client

from tests.inside_napari.fake_server import silent_server
from tests.inside_napari.processes import BIN, run_napari
from tests.support import consent

LAUNCH = (
    "import napari_update_hook.plugin.session as session\n"
    "session.FIRST_CHECK_AFTER_S = 0.1\n"
    "from napari_update_hook.plugin.starting import main\n"
    "import sys; sys.argv = ['napari-hooked']\n"
)


def test_a_silent_server_does_not_delay_exit(tmp_path: Path) -> None:
    plain = run_napari([BIN / "napari"], tmp_path, seconds=3)
    listening, url = silent_server()
    consent.record("full", server=url)
    with listening:
        ended = run_napari([sys.executable, "-c", LAUNCH + "main()"], tmp_path, seconds=4, NAPARI_UPDATE_SERVER=url)
        listening.settimeout(1)
        connection, _ = listening.accept()
        connection.close()
    assert ended.code == 0, ended.output
    assert {"napari_update_hook.plugin.session", "napari_telemetry.plugin.session"} <= set(ended.ours)
    assert ended.seconds_to_end < plain.seconds_to_end + 3, "a request waits for nine seconds"
    assert "Traceback" not in ended.output


def test_counts_are_saved_when_napari_closes(tmp_path: Path) -> None:
    consent.record("full")
    code = LAUNCH + (
        "import threading, time\n"
        "def add():\n"
        "    import napari, numpy\n"
        "    from qtpy.QtCore import QTimer\n"
        "    napari.current_viewer().add_image(numpy.zeros((4, 4), dtype='uint8'))\n"
        "from napari.viewer import Viewer\n"
        "make = Viewer.__init__\n"
        "def made(self, *a, **k):\n"
        "    make(self, *a, **k)\n"
        "    from qtpy.QtCore import QTimer\n"
        "    QTimer.singleShot(4000, add)\n"
        "Viewer.__init__ = made\n"
        "main()\n"
    )
    ended = run_napari([sys.executable, "-c", code], tmp_path, seconds=7)
    assert ended.code == 0, ended.output
    view = current_client().status().view
    (draft,) = view.drafts
    assert [(kind.layer, count) for kind, count in view.counts[draft.week].layers.items()] == [("image", 1)]
