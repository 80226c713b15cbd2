"""Weekly usage reports for napari's maintainers, sent with an update check and only with consent.

>>> import napari_telemetry
>>> napari_telemetry.status().decision.level         # reads only
<Level.NONE: 'none'>

Importing this package loads no library: each is loaded when it is used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this
if TYPE_CHECKING:
    from typing import Any

    from napari_telemetry.client import Status

__version__ = "0.1.0"
__all__ = ["__version__", "attach", "send_if_due", "status"]


def send_if_due(deadline_s: float) -> None:
    """Send the report that is due, if there is consent and it is time. Never raises.

    napari-update-hook calls this with its checks. ``deadline_s``: seconds it may take.
    """
    from napari_telemetry.client import send_if_due

    send_if_due(deadline_s)


def status(*, server: str | None = None) -> Status:
    """Return the effective level and why, what is waiting, and problems with advice. Raises SettingsError."""
    from napari_telemetry.client import client_here

    return client_here(server).status(check_health=True)


def attach(viewer: Any) -> None:
    """Show the state of telemetry in the window of a viewer, and count while level full is in effect.

    ``viewer``: a ``napari.Viewer``. Never raises, and may be called again.
    """
    try:
        from napari_telemetry.plugin.instance import get_instance

        get_instance().add(viewer)
    except Exception:  # napari starts, whatever is wrong here
        import logging

        logging.getLogger("napari_telemetry").debug("not attached", exc_info=True)


def ask(viewer: Any) -> None:
    """Attach, and ask now what may be sent, if that is due: after a person installed this package. Never raises."""
    attach(viewer)
    try:
        from napari_telemetry.plugin.instance import get_instance

        if (gui := get_instance().gui()) is not None:
            gui.ask(requested=False)
    except Exception:
        import logging

        logging.getLogger("napari_telemetry").debug("not asked", exc_info=True)
