"""Ways by which napari starts with this package attached. Each needs a person's act.

`main` is the command ``napari-hooked``; `attach_at_start` is all that the start-up script does.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("startup_script.py")
"""What a person chooses in Preferences, or an administrator names in NAPARI_APPLICATION_STARTUP_SCRIPT."""
WITHOUT_A_VIEWER = frozenset({"-h", "--help", "--version", "--info", "--plugin-info", "--reset"})


def main() -> None:
    """Start napari, attached, with every argument that ``napari`` takes."""
    if not WITHOUT_A_VIEWER.intersection(sys.argv[1:]):
        with contextlib.suppress(Exception):  # napari starts, whatever is wrong here
            attach_to_every_viewer()
    try:  # what the command `napari` runs: its place differs from one napari to another
        (command,) = metadata.distribution("napari").entry_points.select(group="console_scripts", name="napari")
    except metadata.PackageNotFoundError:
        sys.exit("napari is not installed in this environment: pip install 'napari[all]'")
    command.load()()


def attach_to_every_viewer() -> None:
    """Attach to each viewer that is made in this process from now on."""
    from napari.viewer import Viewer

    from napari_update_hook.plugin import attach

    make: Any = Viewer.__init__

    @functools.wraps(make)
    def make_attached(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        attach(self)

    Viewer.__init__ = make_attached


def attach_at_start() -> None:
    """Attach to the viewer that napari has just made."""
    import napari

    from napari_update_hook.plugin import attach

    viewer = napari.current_viewer()
    if viewer is not None:
        attach(viewer)
