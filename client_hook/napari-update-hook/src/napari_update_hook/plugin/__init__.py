"""What runs inside napari: `attach`, and what it starts.

Nothing here runs by itself. A person opens the widget, starts `napari-hooked`, or chooses the start-up script; each of them
calls `attach`. Only ``plugin.qt`` knows Qt.
"""

from __future__ import annotations

from typing import Any

__all__ = ["attach"]


def attach(viewer: Any) -> None:
    """Check for updates while ``viewer`` is open, and show the result in its window. Never raises, and may be called again.

    ``viewer``: a ``napari.Viewer``. Without a window, or without Qt, only the check runs.
    """
    try:
        from napari_update_hook.plugin.instance import get_instance

        get_instance().add(viewer)
    except Exception:  # napari starts, whatever is wrong here
        import logging

        logging.getLogger("napari_update_hook").debug("not attached", exc_info=True)
