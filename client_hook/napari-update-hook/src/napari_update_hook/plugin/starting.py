"""Start napari with this package attached, through ``napari-hooked`` or the start-up script."""

from __future__ import annotations

import contextlib
import functools
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("startup_script.py")
"""The start-up script, to be set in napari's Preferences or in NAPARI_APPLICATION_STARTUP_SCRIPT."""
OPTIONS_WITHOUT_VIEWER = frozenset({"-h", "--help", "--version", "--info", "--plugin-info", "--reset"})


def main() -> None:
    if not OPTIONS_WITHOUT_VIEWER.intersection(sys.argv[1:]):
        with contextlib.suppress(Exception):  # never keep napari from starting
            attach_to_every_viewer()
    try:  # the entry point differs between napari versions
        (command,) = metadata.distribution("napari").entry_points.select(group="console_scripts", name="napari")
    except metadata.PackageNotFoundError:
        sys.exit("napari is not installed in this environment. Install it: pip install 'napari[all]'")
    command.load()()


def attach_to_every_viewer() -> None:
    from napari.viewer import Viewer

    from napari_update_hook.plugin import attach

    make: Any = Viewer.__init__

    @functools.wraps(make)
    def init_and_attach(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        attach(self)

    Viewer.__init__ = init_and_attach


def attach_at_start() -> None:
    import napari

    from napari_update_hook.plugin import attach

    viewer = napari.current_viewer()
    if viewer is not None:
        attach(viewer)
