"""Weekly usage reports for napari's maintainers, sent with an update check and only with consent.

>>> import napari_telemetry
>>> napari_telemetry.status().decision.level         # reads only
<Level.NONE: 'none'>

Importing this package loads no library; each is loaded on first use.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than this module
if TYPE_CHECKING:
    from typing import Any

    from napari_telemetry.client import Status

__version__ = "0.2.0"
__all__ = ["__version__", "attach", "send_if_due", "status"]


def send_if_due(deadline_s: float) -> None:
    """Send the due report if the user has consented. Never raises.

    napari-update-hook calls this with each check. ``deadline_s``: maximum duration in seconds.
    """
    from napari_telemetry.client import send_if_due

    send_if_due(deadline_s)


def status(*, server: str | None = None) -> Status:
    """Return the effective level and its reason, pending reports, and problems with advice. Raises SettingsError."""
    from napari_telemetry.client import current_client

    return current_client(server).status(check_health=True)


def attach(viewer: Any) -> None:
    """Show the telemetry status in a viewer's window; at level full, count its use. Never raises.

    ``viewer``: a ``napari.Viewer``.
    """
    try:
        from napari_telemetry.plugin.instance import get_instance

        get_instance().add(viewer)
    except Exception:  # must not stop napari from starting
        import logging

        logging.getLogger("napari_telemetry").debug("not attached", exc_info=True)


def ask(viewer: Any) -> None:
    """Attach, and show the consent dialog if it is due. Never raises."""
    attach(viewer)
    try:
        from napari_telemetry.plugin.instance import get_instance

        if (gui := get_instance().gui()) is not None:
            gui.ask(requested=False)
    except Exception:
        import logging

        logging.getLogger("napari_telemetry").debug("not asked", exc_info=True)
