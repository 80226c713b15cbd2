"""What of a number may be seen.

Every public number counts people. One below ten has no row, zero included; every other is rounded down to a multiple of five.
The thresholds are constants and no settings: nobody can publish more by mistake. The argument is in design section 5.
"""

from __future__ import annotations

LISTED_FROM = 10
ROUNDED_DOWN_TO = 5


def public_number(people: int) -> int | None:
    """Return the number of people as it may be published, or None where it is hidden."""
    return people - people % ROUNDED_DOWN_TO if people >= LISTED_FROM else None
