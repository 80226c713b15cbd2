"""Measure the GUI thread's CPU time for attaching the plugin (with imports), opening its panel, and drawing.

    client_hook/.nox/napari-pyqt6/bin/python -m benchmarks.inside_napari [--plugins 150]

Needs `make test-napari-newest`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plugins", type=int, default=150)
    number = parser.parse_args().plugins
    from tests.inside_napari.fake_server import FakeServer

    server, folder = FakeServer(), tempfile.mkdtemp()
    os.environ |= {
        "NAPARI_UPDATE_SERVER": server.url,
        "NAPARI_UPDATE_STATE": folder,
        "NAPARI_CONFIG": f"{folder}/settings.yaml",
    }
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer()
    _process_events(QApplication, lambda: False, seconds=1)
    found: dict[str, list[float]] = {}
    with _timed(found, "attach"):
        import napari_update_hook

        napari_update_hook.attach(viewer)
    from napari_update_hook import client
    from napari_update_hook.environment import Distribution, read_environment
    from napari_update_hook.plugin.instance import get_instance
    from napari_update_hook.plugin.qt.indicator import StatusButton
    from napari_update_hook.plugin.qt.panel import Panel

    here = read_environment()
    plugins = {f"plugin-{one:03}": Distribution(f"plugin-{one:03}", "1.0", (), "pip", True) for one in range(number)}
    many = replace(here, distributions={**here.distributions, **plugins})
    setattr(client, "read_environment", lambda: many)  # noqa: B010 - mypy rejects the assignment: not exported
    for kind in (Panel, StatusButton):
        _time_method(found, kind, "draw")
    with _timed(found, "open the panel"):
        viewer.window.add_plugin_dock_widget("napari-update-hook", "Plugin updates")
    session = get_instance().session
    for turn in range(10):
        server.packages = {name: {"latest": f"{turn + 2}.0" if place % 3 else "1.0"} for place, name in enumerate(plugins)}
        session.check()
        _process_events(QApplication, lambda: not session.snapshot.is_checking, seconds=20)
        _process_events(QApplication, lambda: False, seconds=0.3)
    for name, times in found.items():
        print(f"{name}: median {statistics.median(times):.2f} ms, longest {max(times):.2f} ms, {len(times)} times")


@contextmanager
def _timed(found: dict[str, list[float]], name: str) -> Iterator[None]:
    begun = time.thread_time()
    yield
    found.setdefault(name, []).append((time.thread_time() - begun) * 1000)


def _time_method(found: dict[str, list[float]], kind: Any, name: str) -> None:
    method = getattr(kind, name)

    def timed(*arguments: Any) -> Any:
        with _timed(found, f"{kind.__name__}.{name}"):
            return method(*arguments)

    setattr(kind, name, timed)


def _process_events(application: Any, is_done: Callable[[], bool], *, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not is_done():
        application.instance().processEvents()
        time.sleep(0.005)


if __name__ == "__main__":
    main()
