"""What time it is, unless somebody rehearses: ``NAPARI_UPDATE_NOW`` moves the clock, against a server on this machine alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

Now = Callable[[], datetime]


def system_now() -> datetime:
    """Return the current instant, in UTC."""
    return datetime.now(timezone.utc)


def going_on_from(start: datetime) -> Now:
    """Return a clock that shows ``start`` now and goes on from there."""
    offset = start - system_now()
    return lambda: system_now() + offset
