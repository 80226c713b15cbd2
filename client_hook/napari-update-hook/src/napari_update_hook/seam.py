"""The seam to napari-telemetry, a separate package for usage reports that a person may have chosen to install.

That package writes one small file for each environment, ``telemetry.json``, that says ``on`` (until when) or ``deleting``.
Without the file no code of it is imported. The file can only stop it: what may be sent is decided by its own consent record.
"""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime
from typing import Any

from napari_update_hook.state import State


def telemetry(state: State, now: datetime) -> Any:
    """Return the module ``napari_telemetry`` if the file says so and it is installed, else None."""
    said = state.read_telemetry()
    try:
        until = datetime.fromisoformat(str(said["until"])) if said.get("until") else None
        if said.get("state") not in ("on", "deleting") or (until is not None and now >= until):
            return None
    except (ValueError, TypeError):
        return None
    try:
        import napari_telemetry
    except ImportError:  # uninstalled
        return None
    return napari_telemetry


def send_if_due(state: State, now: datetime, deadline_s: float) -> None:
    """Let napari-telemetry attach its report to a check, within ``deadline_s`` seconds. Never raises."""
    with contextlib.suppress(Exception):
        if (module := telemetry(state, now)) is not None:
            module.send_if_due(deadline_s)


def attach(state: State, now: datetime, viewer: Any) -> None:
    """Let napari-telemetry show its state in a viewer. Never raises."""
    try:
        if (module := telemetry(state, now)) is not None:
            module.attach(viewer)
    except Exception:
        logging.getLogger("napari_update_hook").debug("napari-telemetry not attached", exc_info=True)
