"""ISO weeks in UTC, written ``2026-W47``.

The year must be the ISO year, too: NAP-8's sample code combines the ISO week with the calendar year, which is wrong around
New Year.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

ACCEPTED_AFTER_END = timedelta(days=14)
"""How long after its end a week accepts reports."""

PUBLICATION_DELAY = timedelta(hours=1)
"""How long after it closes a week is published."""

CLOCK_SKEW = timedelta(hours=24)
"""How far a client's clock may be ahead of the server's."""

_PATTERN = re.compile(r"([0-9]{4})-W([0-9]{2})")


class InvalidWeekError(ValueError):
    """Raised for text that is not an ISO week."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is not an ISO week. Write it like 2026-W47.")


def week_of(instant: datetime) -> str:
    """Return the ISO week of an instant, in UTC. Raises ValueError if the instant has no time zone."""
    if instant.tzinfo is None:
        raise ValueError("week_of needs an instant with a time zone")
    year, week, _ = instant.astimezone(timezone.utc).isocalendar()
    return f"{year:04}-W{week:02}"


def start_of(week: str) -> datetime:
    """Return the week's Monday, 00:00 UTC. Raises InvalidWeekError, also for weeks that do not exist, such as ``2025-W53``."""
    match = _PATTERN.fullmatch(week)
    if match is None:
        raise InvalidWeekError(week)
    try:
        return datetime.fromisocalendar(int(match[1]), int(match[2]), 1).replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise InvalidWeekError(week) from error


def end_of(week: str) -> datetime:
    """Return the start of the next week."""
    return start_of(week) + timedelta(days=7)


def next_week(week: str) -> str:
    """Return the week after ``week``."""
    return week_of(end_of(week))


def closes_at(week: str) -> datetime:
    """Return when ``week`` stops accepting reports."""
    return end_of(week) + ACCEPTED_AFTER_END


def publishable_from(week: str) -> datetime:
    """Return when the numbers of ``week`` may be published."""
    return closes_at(week) + PUBLICATION_DELAY


def is_open(week: str, now: datetime) -> bool:
    """Whether ``week`` accepts reports at ``now``."""
    return start_of(week) - CLOCK_SKEW <= now < closes_at(week)
