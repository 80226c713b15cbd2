"""Memory does not grow. ``TEST_SOAK_S``: seconds to run (``make soak``: 30 minutes)."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari_telemetry.plugin.instance import get_instance as get_telemetry
from napari_update_hook.plugin.instance import get_instance

from tests.inside_napari.attaching import attach
from tests.inside_napari.waiting import PATIENCE_MS

SECONDS = float(os.environ.get("TEST_SOAK_S") or 30)
MAX_GROWTH_MB = 12.0
"""Allowed growth in the second half; one leaked layer per round would add some 100 MB."""


def resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory use from /proc, which needs Linux")
def test_memory_does_not_grow_while_counting(viewer: Any, qtbot: Any, record_level: Callable[[str], None]) -> None:
    from napari._app_model import get_app_model

    record_level("full")
    attach(viewer)
    qtbot.waitUntil(lambda: get_telemetry().counting.is_connected, timeout=PATIENCE_MS)
    panel = None
    commands, session = get_app_model().commands, get_telemetry().session
    began, rounds, half = time.monotonic(), 0, 0.0
    while (elapsed := time.monotonic() - began) < SECONDS:
        viewer.add_image(np.zeros((256, 256), dtype="uint8"))
        viewer.add_points(np.zeros((10, 2)))
        for _ in range(20):
            commands.execute_command("napari.window.view.toggle_activity_dock").result()
        viewer.layers.clear()
        get_telemetry().session.refresh()
        if rounds % 10 == 0:
            get_instance().session.check()
            session._jobs.put(session._flush)
        if panel is None:
            get_telemetry().gui().open_panel(viewer)
            panel = True
        qtbot.wait(30)
        rounds += 1
        if not half and elapsed > SECONDS / 2:
            half = resident_mb()
    grown = resident_mb() - half
    print(f"\n{rounds} rounds in {SECONDS:.0f} s: {half:.0f} MB in the middle, {grown:+.1f} MB since")
    assert rounds > 10
    assert grown < MAX_GROWTH_MB
    session._jobs.put(session._flush)
    qtbot.waitUntil(lambda: not session.collector._events, timeout=PATIENCE_MS)
