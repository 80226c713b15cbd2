"""The calendar of telemetry: ISO weeks in UTC, written ``2026-W47``.

Year and week number must come from the same calendar. NAP-8's sample code pairs the ISO week with the calendar year, which
gives the days around new year to the wrong week. Everything here is arithmetic on instants that the caller passes in.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

CLOSES_AFTER = timedelta(days=14)
"""A week takes reports until so long after its end."""

PUBLISHED_AFTER = timedelta(hours=1)
"""A week is published so long after it closed."""

CLOCK_SKEW = timedelta(hours=24)
"""So much ahead of the server a client's clock may be."""

_FORM = re.compile(r"([0-9]{4})-W([0-9]{2})")


class InvalidWeekError(ValueError):
    """A text that names no ISO week."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is no ISO week: write it like 2026-W47")


def week_of(instant: datetime) -> str:
    """Return the ISO week of an instant, in UTC. ``instant`` must carry a time zone."""
    if instant.tzinfo is None:
        raise ValueError("week_of needs an instant with a time zone")
    year, week, _ = instant.astimezone(timezone.utc).isocalendar()
    return f"{year:04}-W{week:02}"


def start_of(week: str) -> datetime:
    """Return the first instant of ``week``, a Monday at 00:00 UTC.

    Raises InvalidWeekError for anything but an existing week: there is no ``2025-W53``.
    """
    match = _FORM.fullmatch(week)
    if match is None:
        raise InvalidWeekError(week)
    try:
        return datetime.fromisocalendar(int(match[1]), int(match[2]), 1).replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise InvalidWeekError(week) from error


def end_of(week: str) -> datetime:
    """Return the instant at which ``week`` is over: the start of the next one."""
    return start_of(week) + timedelta(days=7)


def next_week(week: str) -> str:
    """Return the week after ``week``."""
    return week_of(end_of(week))


def closes_at(week: str) -> datetime:
    """Return the instant from which no report of ``week`` is taken any more."""
    return end_of(week) + CLOSES_AFTER


def published_from(week: str) -> datetime:
    """Return the instant from which the numbers of ``week`` may be published."""
    return closes_at(week) + PUBLISHED_AFTER


def is_open(week: str, now: datetime) -> bool:
    """Tell whether a report of ``week`` is taken at ``now``, by the clock alone."""
    return start_of(week) - CLOCK_SKEW <= now < closes_at(week)
