"""Instants as state files have them: ISO texts in UTC, whose order is that of time."""

from __future__ import annotations

from datetime import datetime, timezone


def text_of(instant: datetime) -> str:
    """Return an instant as text, in UTC and of one length."""
    return instant.astimezone(timezone.utc).isoformat(timespec="microseconds")


def instant_of(text: str) -> datetime:
    """Read what `text_of` wrote."""
    return datetime.fromisoformat(text)
