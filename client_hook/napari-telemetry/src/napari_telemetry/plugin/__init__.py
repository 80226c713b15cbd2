"""What runs inside napari: `attach`, and what it starts.

Nothing here runs by itself. A person opens the widget, starts `napari-hooked`, or chooses the start-up script; each of them
calls `attach`. Everything but ``plugin.qt`` knows no Qt.
"""

from __future__ import annotations

from typing import Any

__all__ = ["attach"]


def attach(viewer: Any) -> None:
    """Check for updates while ``viewer`` is open, and show where telemetry stands. Raises nothing, and may be called again.

    ``viewer``: a ``napari.Viewer``. Without a window, or without Qt, the check and the counting alone run.
    """
    try:
        from napari_telemetry.plugin.attachment import attachment

        attachment().add(viewer)
    except Exception:  # napari starts, whatever is wrong here
        import logging

        logging.getLogger("napari_telemetry").debug("not attached", exc_info=True)
