"""What of a number may be seen.

Every public number counts people. One below ten has no row, zero included; every other is rounded down to a multiple of five.
The thresholds are constants and no settings: nobody can publish more by mistake. The argument is in docs/disclosure.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Values = TypeVar("Values")

LISTED_FROM = 10
ROUNDED_DOWN_TO = 5

RULE = (
    f"A number below {LISTED_FROM} is not listed, zero included; every other is rounded down to a multiple of "
    f"{ROUNDED_DOWN_TO}. Where the rows of a table would add up to its total, the largest is published as if it were "
    f"{ROUNDED_DOWN_TO} lower."
)
"""For people who read numbers."""


def public_number(people: int) -> int | None:
    """Return the number of people as it may be published, or None where it is hidden."""
    return people - people % ROUNDED_DOWN_TO if people >= LISTED_FROM else None


def public_rows(rows: Mapping[Values, int], total: int | None) -> dict[Values, int]:
    """Return the numbers of a table that are listed, in the order of ``rows``.

    ``total``: the people in all rows together; None if no such number is published. If the listed rows add up to the
    published total, a reader who assumes that each person is in one row could tell that the other rows hold four people at
    most. So the largest row (the first of equals) is then published 5 lower, or hidden if that is below 10.
    """
    listed = {values: number for values, people in rows.items() if (number := public_number(people)) is not None}
    if total is not None and listed and sum(listed.values()) == public_number(total):
        largest = max(listed, key=listed.__getitem__)
        listed[largest] -= ROUNDED_DOWN_TO
        if listed[largest] < LISTED_FROM:
            del listed[largest]
    return listed
