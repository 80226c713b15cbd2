"""Public numbers of the update service, as a maintainer asks for them.

The request names what it asks about and nothing of this computer: it is made by hand alone, and no consent is needed for it.
"""

from __future__ import annotations

from urllib.parse import quote

from msgspec import Struct
from packaging.utils import canonicalize_name

from napari_telemetry.errors import ServerAnswerError
from napari_telemetry.transport import Transport, decoded

WEEKS_SHOWN = 8
"""Unless others are asked for: what fits on a terminal."""
MOST_PAGES = 200


class Row(Struct, frozen=True):
    """One public number. ``values`` by dimension."""

    week: str
    values: dict[str, str]
    people: int


class Numbers(Struct, frozen=True):
    """The answer of ``/api/stats/…``, all its pages together. ``weeks``: those published, the oldest first."""

    entry: str
    question: str
    listed_from: int
    rounded_down_to: int
    weeks: list[str]
    rows: list[Row]
    next: str | None = None


class Pivot(Struct, frozen=True):
    """Numbers as a table: ``titles`` of the dimensions, and for each combination of values one number a week, or None."""

    titles: list[str]
    weeks: list[str]
    lines: list[tuple[tuple[str, ...], list[int | None]]]


def fetch(transport: Transport, server: str, name: str, by: str | None, first: str | None, last: str | None) -> Numbers:
    """Return the numbers of ``name``: napari, or a plugin. ``by``: dimensions, comma-separated; ``first``, ``last``: weeks.

    Raises ServerUnreachableError, and ServerAnswerError with what the service says is wrong.
    """
    key = canonicalize_name(name)
    path = "/api/stats/napari" if key == "napari" else f"/api/stats/plugins/{quote(key, safe='')}"
    query = {"by": by, "from": first, "to": last, "limit": "10000"}
    asked = {parameter: value for parameter, value in query.items() if value is not None}
    try:
        numbers: Numbers = decoded(transport.get(f"{server}{path}", query=asked).body or b"", Numbers, server)
    except ServerAnswerError as error:
        if error.status == 404 and not error.is_problem:
            raise ServerAnswerError(f"{server} has no statistics: --server names one that has.", 404) from error
        raise
    rows, following = list(numbers.rows), numbers.next
    for _ in range(MOST_PAGES):
        if following is None or not following.startswith("/api/stats/"):  # never where an answer would send us
            break
        page: Numbers = decoded(transport.get(f"{server}{following}").body or b"", Numbers, server)
        rows += page.rows
        following = page.next
    return Numbers(numbers.entry, numbers.question, numbers.listed_from, numbers.rounded_down_to, numbers.weeks, rows)


def pivot(numbers: Numbers, most_weeks: int | None = WEEKS_SHOWN, subject: str = "plugin") -> Pivot:
    """Return a line for each combination of values, the largest of the last week first, with a column for each week.

    ``most_weeks``: so many of the last weeks, None for all. ``subject``: the dimension that is the same in all rows.
    """
    weeks = numbers.weeks[-most_weeks:] if most_weeks else numbers.weeks
    titles = [name for name in dict.fromkeys(name for row in numbers.rows for name in row.values) if name != subject]
    people: dict[tuple[str, ...], dict[str, int]] = {}
    for row in numbers.rows:
        if row.week in weeks:
            people.setdefault(tuple(row.values.get(name, "") for name in titles), {})[row.week] = row.people
    last = weeks[-1] if weeks else ""
    lines = sorted(people.items(), key=lambda line: (-line[1].get(last, 0), line[0]))
    return Pivot(titles, weeks, [(values, [found.get(week) for week in weeks]) for values, found in lines])
