"""The consent record of this environment, for scripts: ``napari_telemetry.consent``. Nothing here sends anything."""

from __future__ import annotations

from datetime import timedelta

from napari_update_hook.state import parsed_duration

from napari_telemetry.client import client_here
from napari_telemetry.consent_rules import ConsentRecord, Decision
from napari_telemetry.wire import Level

__all__ = ["ConsentRecord", "Decision", "Level", "current", "decision", "history", "record", "withdraw"]


def history(server: str | None = None) -> list[ConsentRecord]:
    """Return every answer that was given in this environment, the newest last. Raises StateError."""
    client = client_here(server)
    return client.store.view(client.settings.service).history


def current(server: str | None = None) -> ConsentRecord | None:
    """Return the newest answer, None if there is none. Raises StateError."""
    return next(iter(history(server)[-1:]), None)


def decision(server: str | None = None) -> Decision:
    """Return the effective level, and why it is not more. Raises SettingsError."""
    return client_here(server).status().decision


def record(
    level: Level | str,
    *,
    lasting: str | timedelta | None = None,
    means: str = "napari_telemetry.consent",
    server: str | None = None,
) -> ConsentRecord:
    """Record an answer for this environment and this server, and return it.

    ``level``: none, basic, middle or full. ``lasting``: ``"90d"``, ``"12w"``, ``"3m"`` or a length of time; None means until it
    is changed. ``means``: how the person answered. Raises ValueError for an unknown level or length, StateError, SettingsError.
    """
    length = parsed_duration(lasting) if isinstance(lasting, str) else lasting
    return client_here(server).set_consent(Level(level), lasting=length, means=means)


def withdraw(means: str = "napari_telemetry.consent", server: str | None = None) -> ConsentRecord:
    """Record the answer none. What servers hold stays until ``napari-telemetry forget``, or 60 days after its week began."""
    return record(Level.NONE, means=means, server=server)
