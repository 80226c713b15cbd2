"""Updates of napari and its plugins that work together in your environment.

>>> import napari_update_hook
>>> result = napari_update_hook.check()              # asks the server
>>> [row.name for row in result.rows if row.needs_attention]
['affinder']

Importing this package loads nothing else: what needs a library is imported when it is used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this
if TYPE_CHECKING:
    from typing import Any

    from napari_update_hook.client import CheckResult

__version__ = "0.1.0"
__all__ = ["__version__", "attach", "check"]


def check(*, server: str | None = None, only_if_due: bool = False) -> CheckResult:
    """Look for updates of what is installed in this environment.

    Takes nine seconds at most. ``server``: base URL of the update server, default as configured. ``only_if_due``: for checks
    that no one asked for: answers from the cache until the next check is due. Raises
    napari_update_hook.errors.ServerUnreachableError, ServerAnswerError or SettingsError, with a text for people.
    """
    from napari_update_hook.client import client_here

    return client_here(server).check(only_if_due=only_if_due)


def attach(viewer: Any) -> None:
    """Check for updates while a viewer is open, and show the result in its window. See `plugin.attach`.

    ``viewer``: a ``napari.Viewer``. Never raises, and may be called again.
    """
    from napari_update_hook.plugin import attach

    attach(viewer)
