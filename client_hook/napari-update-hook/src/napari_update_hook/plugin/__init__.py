"""The part inside napari. Runs only after `attach`, which the widget, ``napari-hooked`` and the start-up script call."""

from __future__ import annotations

from typing import Any

__all__ = ["attach"]


def attach(viewer: Any) -> None:
    """Check for updates while ``viewer`` is open, and show them in its window. Without a window or Qt, only check. Never
    raises.
    """
    try:
        from napari_update_hook.plugin.instance import get_instance

        get_instance().add(viewer)
    except Exception:  # never break the start of napari
        import logging

        logging.getLogger("napari_update_hook").debug("not attached", exc_info=True)
