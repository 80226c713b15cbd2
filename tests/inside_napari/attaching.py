"""Attach both packages."""

from __future__ import annotations

from typing import Any

import napari_update_hook
from napari_telemetry import attach as attach_telemetry


def attach(viewer: Any) -> None:
    napari_update_hook.attach(viewer)
    attach_telemetry(viewer)
