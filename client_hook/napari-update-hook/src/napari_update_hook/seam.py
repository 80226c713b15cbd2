"""The seam to napari-telemetry, the optional package for usage reports.

It writes ``telemetry.json`` in each environment: ``on`` or ``ask`` (after when), and pending deletions. Without this file,
only the install button imports telemetry code. The file can only stop telemetry; the consent record permits it.
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
    """Whether there may be something to send, or an expired consent to clear up."""
    said = state.read_telemetry()
    return said.get("state") == "on" or said.get("deleting") is True


def may_attach(state: State, now: datetime) -> bool:
    """Whether there is something to show: a consent, or a prompt that is due."""
    said = state.read_telemetry()
    try:
        return said.get("state") == "on" or (said.get("state") == "ask" and now >= datetime.fromisoformat(str(said["after"])))
    except (ValueError, TypeError, KeyError):
        return False


def send_if_due(state: State, deadline_s: float) -> None:
    """Never raises."""
    with contextlib.suppress(Exception):
        if may_send(state):
            import napari_telemetry

            napari_telemetry.send_if_due(deadline_s)


def attach(state: State, now: datetime, viewer: Any) -> None:
    """Never raises."""
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
    """If napari-telemetry was uninstalled, set ``on`` to ``ask``: a reinstall asks again. Return a message in that case."""
    if state.read_telemetry().get("state") != "on" or find_spec(PACKAGE) is not None:
        return None
    state.write_telemetry({**state.read_telemetry(), "state": "ask", "after": now.isoformat()})
    return f"napari-telemetry was removed, so usage reports are no longer sent. {leftover_notice(state) or ''}".strip()


def leftover_notice(state: State) -> str | None:
    """Return how to delete the data of an uninstalled napari-telemetry, or None."""
    file = state.folder.parents[1] / "telemetry.sqlite3" if state.folder is not None else None
    if file is None or not file.exists() or find_spec(PACKAGE) is not None:
        return None
    return (
        f"Its data is in {file}. To delete your reports from servers, install it again and run `napari-telemetry forget`. "
        "Or delete that file; servers delete reports 60 days after their week began."
    )
