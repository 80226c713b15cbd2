"""The seam to napari-telemetry, a separate package for usage reports that a person may have chosen to install.

That package writes one small file for each environment, ``telemetry.json``, that says ``on`` or ``ask`` (after when), and
whether there is something to delete. Without the file no code of it is imported, but by the button that installs it. The file
can only stop it: what may be sent is decided by its own consent record.
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
    """Whether the file says that there may be something to send, or to clear up after a consent that has expired."""
    said = state.read_telemetry()
    return said.get("state") == "on" or said.get("deleting") is True


def may_attach(state: State, now: datetime) -> bool:
    """Whether the file says that there is something to show: a consent, or a question that is due."""
    said = state.read_telemetry()
    try:
        return said.get("state") == "on" or (said.get("state") == "ask" and now >= datetime.fromisoformat(str(said["after"])))
    except (ValueError, TypeError, KeyError):
        return False


def send_if_due(state: State, deadline_s: float) -> None:
    """Let napari-telemetry attach its report to a check, within ``deadline_s`` seconds. Never raises."""
    with contextlib.suppress(Exception):
        if may_send(state):
            import napari_telemetry

            napari_telemetry.send_if_due(deadline_s)


def attach(state: State, now: datetime, viewer: Any) -> None:
    """Let napari-telemetry show its state in a viewer. Never raises."""
    try:
        end_if_removed(state, now)
        if may_attach(state, now):
            import napari_telemetry

            napari_telemetry.attach(viewer)
    except ImportError:
        pass  # uninstalled
    except Exception:
        logging.getLogger("napari_update_hook").debug("napari-telemetry not attached", exc_info=True)


def ask(viewer: Any) -> None:
    """Let napari-telemetry, which a person has just installed, ask what may be sent."""
    import napari_telemetry

    napari_telemetry.ask(viewer)


def end_if_removed(state: State, now: datetime) -> str | None:
    """If napari-telemetry was uninstalled, let the file say ``ask`` instead of ``on``: installed again, it asks again.

    Return what to tell the person, None if it was not so.
    """
    if state.read_telemetry().get("state") != "on" or find_spec(PACKAGE) is not None:
        return None
    state.write_telemetry({**state.read_telemetry(), "state": "ask", "after": now.isoformat()})
    return f"napari-telemetry was removed, so no usage reports are sent any more. {left_over(state) or ''}".strip()


def left_over(state: State) -> str | None:
    """Return what napari-telemetry left on this computer after it was uninstalled, and how to delete it; None if nothing."""
    file = state.folder.parents[1] / "telemetry.sqlite3" if state.folder is not None else None
    if file is None or not file.exists() or find_spec(PACKAGE) is not None:
        return None
    return (
        f"What it kept is in {file}. To delete what servers hold of you, install it again and run `napari-telemetry forget`; "
        "else delete that file, and servers delete your reports 60 days after their week began."
    )
