"""The part that runs inside napari, started by `attach` from the widget, ``napari-hooked`` or the start-up script."""

from __future__ import annotations

from typing import Any

__all__ = ["attach"]


def attach(viewer: Any) -> None:
    """Check for updates while ``viewer`` is open, and show them in its window, if it has one. Never raises."""
    try:
        from napari_update_hook.plugin.instance import get_instance

        get_instance().add(viewer)
    except Exception:  # never keep napari from starting
        import logging

        logging.getLogger("napari_update_hook").debug("not attached", exc_info=True)
