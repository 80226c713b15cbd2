"""When to ask again. Pure: instants, failures and what a server said in, a pause out.

Retry libraries wait within one run of a program; these waits outlive it, and are kept in the state file.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

from msgspec import Struct

DAY = timedelta(days=1)
LONGEST = timedelta(days=7)
FIRST_RETRY = timedelta(hours=1)
_JITTER = 0.1


class Pause(Struct, frozen=True):
    """Until when something is not tried again.

    ``failures``: how many tries in a row failed. ``is_directed``: the server itself asked for it. ``reason``: for people.
    """

    set_at: datetime
    not_before: datetime
    failures: int = 0
    is_directed: bool = False
    reason: str | None = None


def holds(pause: Pause | None, now: datetime) -> bool:
    """Tell whether a pause is in force.

    One that was set later than now, or that lasts longer than any is set for, comes from a clock that has been set back.
    """
    return pause is not None and pause.set_at <= now < pause.not_before <= pause.set_at + LONGEST * (1 + _JITTER)


def after_success(now: datetime, interval: timedelta, rng: random.Random) -> Pause:
    """Pause for ``interval`` and up to a tenth more, so that not everybody comes back at once."""
    return Pause(now, now + interval * (1 + _JITTER * rng.random()))


def after_failure(
    now: datetime,
    before: Pause | None,
    reason: str,
    retry_after: float | None,
    rng: random.Random,
    first: timedelta = FIRST_RETRY,
) -> Pause:
    """Pause twice as long as after the failure before, from ``first`` up to seven days; at least as long as the server asks.

    ``retry_after``: seconds of the server's ``Retry-After``, None where it named none.
    """
    failures = (before.failures if before else 0) + 1
    own = min(first * 2 ** min(failures - 1, 20), LONGEST) * (1 + _JITTER * rng.random())
    asked = timedelta(seconds=min(max(retry_after or 0.0, 0.0), LONGEST.total_seconds()))
    return Pause(now, now + max(own, asked), failures, retry_after is not None, reason)


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """Read ``Retry-After``: seconds, or an HTTP date (RFC 9110, section 10.2.3). None for what is neither."""
    if not header:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=timezone.utc)
    return max(0.0, (date - now).total_seconds())
