"""Update checks for napari that know your Python, and telemetry with consent alone.

>>> import napari_telemetry
>>> result = napari_telemetry.check()              # asks the server
>>> [row.name for row in result.rows if row.needs_attention]
['affinder']
>>> napari_telemetry.status().level                # reads alone
<Level.NONE: 'none'>
>>> napari_telemetry.consent.record("basic", lasting="90d")

Importing this package costs nothing: what needs a library is loaded when it is used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what type checkers take for true; importing typing would cost more than all of this
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from napari_telemetry import consent
    from napari_telemetry.client import CheckResult
    from napari_telemetry.standing import ClientStatus

__version__ = "0.1.0"
__all__ = ["__version__", "attach", "check", "consent", "status"]


def check(*, server: str | None = None, only_if_due: bool = False) -> CheckResult:
    """Look for updates of what is installed in this environment, and return a row for each package.

    At most nine seconds; call it in a thread where that is too long. Where a consent record says so, and once a day at most, a
    report goes with the request; ``CheckResult.telemetry`` says what became of it.

    ``server``: base URL of the update server, default as configured. ``only_if_due``: for checks that nobody asked for: it
    answers from the cache until the time that the server named has come. Raises
    napari_telemetry.errors.ServerUnreachableError, ServerAnswerError or SettingsError, all of which are UpdateHookError,
    with a text for people.
    """
    from napari_telemetry import api

    return api.check(server=server, only_if_due=only_if_due)


def status(*, server: str | None = None) -> ClientStatus:
    """Return how everything stands: the level in force and why, what waits, what is wrong. Sends and writes nothing.

    Raises napari_telemetry.errors.SettingsError.
    """
    from napari_telemetry import api

    return api.status(server=server)


def attach(viewer: Any) -> None:
    """Check for updates while a viewer is open, and show in its window where telemetry stands. See `plugin.attach`.

    ``viewer``: a ``napari.Viewer``. Raises nothing, and may be called again.
    """
    from napari_telemetry.plugin import attach

    attach(viewer)


def __getattr__(name: str) -> ModuleType:
    """Load ``napari_telemetry.consent`` when it is first used (PEP 562)."""
    if name == "consent":
        from importlib import import_module

        return import_module("napari_telemetry.consent")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
