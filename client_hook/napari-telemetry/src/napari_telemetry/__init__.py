"""Weekly usage reports for napari's maintainers, sent with an update check and only with consent.

>>> import napari_telemetry
>>> napari_telemetry.status().level                  # reads only
<Level.NONE: 'none'>
>>> napari_telemetry.consent.record("basic", lasting="90d")

Importing this package costs nothing: what needs a library is loaded when it is used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from napari_telemetry import consent
    from napari_telemetry.standing import ClientStatus

__version__ = "0.1.0"
__all__ = ["__version__", "attach", "consent", "send_if_due", "status"]


def send_if_due(deadline_s: float) -> None:
    """Send the report that is due, if there is consent and it is time. Never raises.

    napari-update-hook calls this before it asks for updates. ``deadline_s``: seconds it may take.
    """
    from napari_telemetry import api

    api.send_if_due(deadline_s)


def status(*, server: str | None = None) -> ClientStatus:
    """Return the effective level and why, pending reports, and problems with advice. Sends and writes nothing.

    Raises napari_telemetry.errors.SettingsError.
    """
    from napari_telemetry import api

    return api.status(server=server)


def attach(viewer: Any) -> None:
    """Show the state of telemetry in the window of a viewer, and count where level full is in effect. See `plugin.attach`.

    ``viewer``: a ``napari.Viewer``. Never raises, and may be called again.
    """
    from napari_telemetry.plugin import attach

    attach(viewer)


def __getattr__(name: str) -> ModuleType:
    """Load ``napari_telemetry.consent`` when it is first used (PEP 562)."""
    if name == "consent":
        from importlib import import_module

        return import_module("napari_telemetry.consent")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
