"""The consent record of this environment, for scripts and for the GUI: ``napari_telemetry.consent``.

Nothing here sends anything. What is in force at a moment may be less than the answer: `decision` says what, and why.
"""

from __future__ import annotations

from datetime import timedelta

from napari_telemetry.api import client_here
from napari_telemetry.collect import consent_changed
from napari_telemetry.decision import ConsentRecord, Decision, parsed_duration
from napari_telemetry.wire import Level

__all__ = ["ConsentRecord", "Decision", "Level", "current", "decision", "history", "record", "withdraw"]


def current(server: str | None = None) -> ConsentRecord | None:
    """Return the newest answer, None where nobody was asked. Raises StateError."""
    return client_here(server).store.consents.current()


def history(server: str | None = None) -> list[ConsentRecord]:
    """Return every answer that was given in this environment, the newest last. Raises StateError."""
    return client_here(server).store.consents.history()


def decision(server: str | None = None) -> Decision:
    """Return the level in force, and why it is not more. Raises SettingsError."""
    return client_here(server).client.decision()


def record(
    level: Level | str,
    *,
    lasting: str | timedelta | None = None,
    means: str = "napari_telemetry.consent",
    server: str | None = None,
) -> ConsentRecord:
    """Record an answer and return it. It holds for this environment and this server alone.

    ``level``: none, basic, middle or full. ``lasting``: ``"90d"``, ``"12w"``, ``"3m"`` or a length of time; None means
    until it is changed. ``means``: how the person answered, for the history. Raises ValueError for a level or length that
    there is not, StateError.
    """
    here = client_here(server)
    length = parsed_duration(lasting) if isinstance(lasting, str) else lasting
    answer = here.client.set_consent(Level(level), lasting=length, means=means)
    consent_changed()
    return answer


def withdraw(means: str = "napari_telemetry.consent", server: str | None = None) -> ConsentRecord:
    """Record the answer none. What a server holds stays there until ``napari-telemetry forget`` or 60 days after its week
    began.
    """
    return record(Level.NONE, means=means, server=server)
