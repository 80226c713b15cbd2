"""Public numbers of an entry as a table with a chart drawn from it: what to show of many values and weeks.

Any entry can be shown, so nothing here knows one by name. With one free dimension or none the weeks are told apart, a line for
each value; with more there is a bar for each combination, in the last week. The browser draws the chart from the table of the
same page: the two can't differ, and without JavaScript the table is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from packaging.version import InvalidVersion, Version

from aggregation.catalogue import CATALOGUE, PLUGIN, Dimension, Entry
from aggregation.publication import LISTED_FROM
from aggregation.stores.aggregate import AggregateStore, PublicRow
from aggregation.stores.records import Retraction
from update_server.statistics.routes import url_of

MOST_LINES = 8
"""As many as can be told apart by colour."""
MOST_BARS = 15
MOST_ROWS = 50
"""Of a table of combinations; the CSV has all."""

HIDDEN = f"<{LISTED_FROM}"
RETRACTED = "retracted"


class Cell(Struct, frozen=True):
    """A number as it is shown. ``people`` is None where there is none, ``text`` says what stands there then."""

    people: int | None
    text: str


class Row(Struct, frozen=True):
    """A line of the table. ``head``: the week, or the values; ``links``: where a value leads, by its position."""

    head: tuple[str, ...]
    cells: tuple[Cell, ...]
    links: Mapping[int, str] = {}


class Chart(Struct, frozen=True):
    """One question with its numbers.

    ``kind``: lines (a column for each value, rows are weeks, the oldest first) or bars (rows are values, of ``last``).
    ``heads``, ``columns``: titles; ``colours``: of the columns, from 1. ``totals``: people of whom the lines are a part, by
    week; None where that number is not listed. ``figure``: the number of the last week, where there is but one a week.
    ``left_out``: values without a line or a row. ``drawn``: rows of bars that are drawn.
    """

    id: str
    question: str
    level: str
    kind: str
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    colours: tuple[int, ...]
    totals: tuple[int | None, ...]
    rows: tuple[Row, ...]
    first: str | None
    last: str | None
    figure: Cell | None
    left_out: int
    drawn: int
    urls: Mapping[str, str]
    retractions: tuple[Retraction, ...]

    @property
    def has_numbers(self) -> bool:
        """Whether any number is listed."""
        return any(cell.people is not None for row in self.rows for cell in row.cells)


async def chart_of(
    aggregate: AggregateStore,
    entry: Entry,
    weeks: Sequence[str],
    retractions: Iterable[Retraction] = (),
    subject: str | None = None,
    newest_first: Mapping[Dimension, Sequence[str]] = {},
) -> Chart:
    """Return the chart of an entry over published ``weeks``, in order. ``subject``: the value of its fixed dimension.

    ``retractions``: of any entries; those that touch this one are shown. ``newest_first``: versions that there are, so that a
    version has one colour in all charts.
    """
    fixed = {dimension.name: subject for dimension in entry.dimensions[: entry.fixed] if subject is not None}
    free = [dimension for dimension in entry.dimensions if dimension.name not in fixed]
    mine = [one for one in retractions if _touches(one, entry, fixed, weeks)]
    asked = {"from": weeks[0], "to": weeks[-1]} if weeks else {}
    urls = {form: url_of(entry, subject or "", **asked, format=form) for form in ("json", "csv")}
    totals: tuple[int | None, ...] = ()
    if len(free) <= 1:
        heads: tuple[str, ...] = ("Week",)
        columns, rows, left_out = await _lines(aggregate, entry, fixed, free, weeks, mine)
        kind, drawn = "lines", len(rows)
        if free:
            totals = await _totals(aggregate, entry, fixed, weeks)
    else:
        last = weeks[-1] if weeks else ""
        page = await aggregate.rows(entry, fixed, since=last, until=last, limit=100_000)
        heads, columns = tuple(dimension.title for dimension in free), ("People",)
        rows, left_out = _bars(free, page.rows)
        kind, drawn = "bars", min(MOST_BARS, len(rows))
    return Chart(
        id=entry.id,
        question=entry.about(subject),
        level=str(entry.level),
        kind=kind,
        heads=heads,
        columns=columns,
        colours=colours_of(columns, newest_first.get(free[0], ()) if free else ()),
        totals=totals,
        rows=rows,
        first=weeks[0] if weeks else None,
        last=weeks[-1] if weeks else None,
        figure=rows[-1].cells[0] if rows and not free else None,
        left_out=left_out,
        drawn=drawn,
        urls=urls,
        retractions=tuple(mine),
    )


async def _lines(
    aggregate: AggregateStore,
    entry: Entry,
    fixed: Mapping[str, str],
    free: Sequence[Dimension],
    weeks: Sequence[str],
    retractions: Sequence[Retraction],
) -> tuple[tuple[str, ...], tuple[Row, ...], int]:
    """Columns, rows and how many values are left out: those are drawn that were the largest in any of the weeks."""
    since, until = (weeks[0], weeks[-1]) if weeks else ("9999", "")
    largest = [values for values, _ in await aggregate.largest(entry, fixed, since=since, until=until)]
    drawn = [values[free[0].name] for values in largest[:MOST_LINES]] if free else []
    any_of = {free[0].name: drawn} if free else None
    most = len(weeks) * MOST_LINES + 1
    found = (await aggregate.rows(entry, fixed, since=since, until=until, limit=most, any_of=any_of)).rows
    people = {(row.week, row.values[free[0].name] if free else ""): row.people for row in found}
    values = in_natural_order(drawn) if free else [""]
    rows = []
    for week in weeks:
        cells = []
        for value in values:
            known = {**fixed, **({free[0].name: value} if free else {})}
            number = people.get((week, value))
            cells.append(Cell(number, f"{number:,}" if number is not None else _why_missing(week, known, retractions)))
        rows.append(Row((week,), tuple(cells)))
    columns = tuple(values) if free else ("People",)
    return columns, tuple(rows) if columns else (), max(0, len(largest) - MOST_LINES)


async def _totals(
    aggregate: AggregateStore, entry: Entry, fixed: Mapping[str, str], weeks: Sequence[str]
) -> tuple[int | None, ...]:
    """People by week of whom an entry tells a part: those who take part, or who have the plugin."""
    wholes = [one for one in CATALOGUE if one.topic == entry.topic and {part.name for part in one.dimensions} <= set(fixed)]
    whole = next(iter(wholes), None)
    if whole is None or not weeks:
        return ()
    found = (await aggregate.rows(whole, fixed, since=weeks[0], until=weeks[-1], limit=len(weeks) + 1)).rows
    people = {row.week: row.people for row in found}
    return tuple(people.get(week) for week in weeks)


def colours_of(columns: Sequence[str], newest_first: Sequence[str]) -> tuple[int, ...]:
    """Return a colour for each column, from 1 to `MOST_LINES`, each once: of versions by their place among all."""
    taken: dict[str, int] = {}
    known = [name for name in newest_first if name in columns]
    for name in (*known, *(name for name in columns if name not in known)):
        wanted = newest_first.index(name) if name in known else columns.index(name)
        free = [place for place in range(MOST_LINES) if place not in taken.values()]
        taken[name] = min(free, key=lambda place: (place - wanted) % MOST_LINES) if free else wanted % MOST_LINES
    return tuple(taken[name] + 1 for name in columns)


def _bars(free: Sequence[Dimension], found: Sequence[PublicRow]) -> tuple[tuple[Row, ...], int]:
    """A row for each combination, the largest first, and how many there are beyond."""
    ordered = sorted(found, key=lambda row: (-row.people, tuple(row.values.values())))
    rows = []
    for row in ordered[:MOST_ROWS]:
        head = tuple(dimension.form.format(row.values[dimension.name]) for dimension in free)
        links = {place: f"/plugins/{head[place]}" for place, dimension in enumerate(free) if dimension == PLUGIN}
        rows.append(Row(head, (Cell(row.people, f"{row.people:,}"),), links))
    return tuple(rows), max(0, len(ordered) - MOST_ROWS)


def in_natural_order(values: Iterable[str]) -> list[str]:
    """Return versions in the order of PEP 440, with what is none behind; where all are none, in the order that they had."""
    listed = list(values)
    keys: dict[str, Version] = {}
    for value in listed:
        try:
            keys[value] = Version(value)
        except InvalidVersion:
            continue
    if len(keys) < 2:
        return listed
    return sorted(keys, key=lambda value: keys[value]) + [value for value in listed if value not in keys]


def _touches(one: Retraction, entry: Entry, fixed: Mapping[str, str], weeks: Sequence[str]) -> bool:
    is_in_span = bool(weeks) and one.first_week <= weeks[-1] and one.last_week >= weeks[0]
    return one.entry == entry.id and is_in_span and one.may_concern(fixed)


def _why_missing(week: str, values: Mapping[str, str], retractions: Sequence[Retraction]) -> str:
    """What stands in place of a number: that it is small, or that it may be one that was taken back."""
    return RETRACTED if any(one.covers(week, values) for one in retractions) else HIDDEN
