"""napari's plugin manager, opened at one plugin. It is a package of its own, and may be missing."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from qtpy.QtWidgets import QWidget


def has_plugin_manager() -> bool:
    """Whether napari-plugin-manager is installed."""
    return find_spec("napari_plugin_manager") is not None


def open_plugin_manager(window: QWidget | None, name: str) -> None:
    """Open the plugin manager, as napari's menu does, with ``name`` in its search field."""
    from napari_plugin_manager.qt_plugin_dialog import QtPluginDialog

    if window is None:
        return
    opened = QtPluginDialog(window)
    holder: Any = window
    holder._plugin_manager_dialog = opened  # where napari keeps it, so that Python does not drop it
    opened.exec_()  # does not block: it shows the dialog
    getattr(window, "_plugin_dialog", opened).search(name)
