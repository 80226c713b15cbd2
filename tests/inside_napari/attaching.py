"""Attaches both packages, as for a person who uses both."""

from __future__ import annotations

from typing import Any

import napari_update_hook
from napari_telemetry import attach as attach_telemetry


def attach(viewer: Any) -> None:
    """Attach the update check, and telemetry beside it."""
    napari_update_hook.attach(viewer)
    attach_telemetry(viewer)
