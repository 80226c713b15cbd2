"""The interface to napari-telemetry, the optional package for usage reports.

napari-telemetry writes ``telemetry.json`` for each environment: its state (``on``, or ``ask`` after a given time) and
whether a deletion is pending. Without this file, only the install button imports telemetry code. The file can only
prevent telemetry; sending also needs the recorded consent.
"""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from napari_update_hook.state import State

PACKAGE = "napari_telemetry"


def may_send(state: State) -> bool:
    """Return whether there may be a report or a deletion request to send, or an expired consent to clean up."""
    said = state.read_telemetry()
    return said.get("state") == "on" or said.get("deleting") is True


def may_attach(state: State, now: datetime) -> bool:
    """Return whether there is something to show: an active consent, or a prompt that is due."""
    said = state.read_telemetry()
    try:
        return said.get("state") == "on" or (said.get("state") == "ask" and now >= datetime.fromisoformat(str(said["after"])))
    except (ValueError, TypeError, KeyError):
        return False


def send_if_due(state: State, deadline_s: float) -> None:
    """Send the usage report if it is due. Never raises."""
    with contextlib.suppress(Exception):
        if may_send(state):
            import napari_telemetry

            napari_telemetry.send_if_due(deadline_s)


def attach(state: State, now: datetime, viewer: Any) -> None:
    """Attach napari-telemetry to the viewer if `may_attach`. Never raises."""
    try:
        reset_if_uninstalled(state, now)
        if may_attach(state, now):
            import napari_telemetry

            napari_telemetry.attach(viewer)
    except ImportError:
        pass  # uninstalled
    except Exception:
        logging.getLogger("napari_update_hook").debug("napari-telemetry not attached", exc_info=True)


def ask(viewer: Any) -> None:
    import napari_telemetry

    napari_telemetry.ask(viewer)


def reset_if_uninstalled(state: State, now: datetime) -> str | None:
    """Change ``on`` to ``ask`` if napari-telemetry was uninstalled, so a reinstall asks again. Return a message then."""
    if state.read_telemetry().get("state") != "on" or find_spec(PACKAGE) is not None:
        return None
    state.write_telemetry({**state.read_telemetry(), "state": "ask", "after": now.isoformat()})
    return f"napari-telemetry was uninstalled, so usage reports are no longer sent. {leftover_notice(state) or ''}".strip()


def leftover_notice(state: State) -> str | None:
    """Return how to delete the data left by an uninstalled napari-telemetry, or None if there is none."""
    file = state.folder.parents[1] / "telemetry.sqlite3" if state.folder is not None else None
    if file is None or not file.exists() or find_spec(PACKAGE) is not None:
        return None
    return (
        f"Its data is in {file}. To delete your reports from servers, install it again and run `napari-telemetry forget`. "
        "Or only delete that file; servers delete reports 60 days after the start of their week."
    )
