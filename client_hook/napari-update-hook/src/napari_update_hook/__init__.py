"""Find updates of napari and its plugins that work together. Importing this package imports nothing else."""

from __future__ import annotations

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from typing import Any

    from napari_update_hook.client import CheckResult

__version__ = "0.2.0"
__all__ = ["__version__", "attach", "check"]


def check(*, server: str | None = None, only_if_due: bool = False) -> CheckResult:
    """Check this environment for updates, in at most nine seconds.

    ``server``: base URL; by default the configured one. ``only_if_due``: use the cache until the next automatic check is
    due. Raises ServerUnreachableError, ServerAnswerError or SettingsError (`napari_update_hook.errors`).
    """
    from napari_update_hook.client import current_client

    return current_client(server).check(only_if_due=only_if_due)


def attach(viewer: Any) -> None:
    """Check for updates while ``viewer`` (a ``napari.Viewer``) is open, and show them in its window. Never raises."""
    from napari_update_hook.plugin import attach

    attach(viewer)
