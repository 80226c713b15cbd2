"""Charts: a question, and a table that answers it.

With at most one free dimension, a chart has a line per value over the weeks; with more, a bar per combination in the last
week. The browser draws charts from their tables, so they cannot differ, and JavaScript is optional.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from aggregation.catalogue import CATALOGUE, PLUGIN, PYTHON, Dimension, Entry
from aggregation.publication import LISTED_FROM
from aggregation.stores.aggregate import AggregateStore, PublicRow
from aggregation.stores.records import Retraction
from update_server.index.coverage import Coverage
from update_server.index.downloads import Downloads
from update_server.index.model import parse_version
from update_server.statistics.routes import url_of

MAX_LINES = 8
"""Maximum number of lines: as many as there are distinguishable colours."""
MAX_BARS, MAX_ROWS = 15, 50
"""Maximum number of bars drawn and of rows listed; the CSV file has all rows."""
HIDDEN, RETRACTED = f"<{LISTED_FROM}", "retracted"


class Row(Struct, frozen=True):
    """A row of a table. ``head``: the week or values. ``links``: URLs by position in ``head``."""

    head: tuple[str, ...]
    cells: tuple[str, ...]
    links: Mapping[int, str] = {}


class Chart(Struct, frozen=True, kw_only=True):
    """A chart and its table.

    ``kind``: lines (a row per week), bars, stack, or table (not drawn). ``totals``: people per week, the base of
    percentages; None if hidden. ``figure``: the last week's number and its label. ``drawn``: number of bars.
    """

    id: str
    question: str
    kind: str
    heads: tuple[str, ...]
    columns: tuple[str, ...]
    rows: Sequence[Row]
    caption: str
    links: Mapping[str, str]
    level: str = ""
    colours: tuple[int, ...] = ()
    totals: tuple[int | None, ...] = ()
    figure: tuple[str, str] | None = None
    drawn: int = 0
    unit: str = ""
    note: str = ""
    retractions: tuple[Retraction, ...] = ()


async def chart_of(
    aggregate: AggregateStore,
    entry: Entry,
    weeks: Sequence[str],
    retractions: Iterable[Retraction],
    subject: str | None,
    newest_first: Mapping[Dimension, Sequence[str]] = {},
) -> Chart:
    """Return the chart of an entry.

    ``subject``: value of the fixed dimension. ``newest_first``: known versions, so that a version has the same colour in
    all charts.
    """
    fixed = {dimension.name: subject for dimension in entry.dimensions[: entry.fixed] if subject is not None}
    free = [dimension for dimension in entry.dimensions if dimension.name not in fixed]
    mine = [one for one in retractions if _concerns(one, entry, fixed, weeks)]
    first, last = (weeks[0], weeks[-1]) if weeks else ("9999", "")
    figure: tuple[str, str] | None = None
    totals: tuple[int | None, ...] = ()
    columns: tuple[str, ...] = ("People",)
    colours: tuple[int, ...] = (1,)
    if len(free) > 1:
        found = await aggregate.numbers(entry, fixed, since=last, until=last)
        kind, heads, first = "bars", tuple(dimension.title for dimension in free), last
        rows, left_out = _bars(free, found), len(found) - MAX_ROWS
    else:
        values, rows, left_out = await _lines(aggregate, entry, fixed, free, weeks, mine)
        kind, heads = "lines", ("Week",)
        if free:
            columns = tuple(free[0].reads(value) for value in values)
            colours = colours_of(values, newest_first.get(free[0], ()))
            totals = await _totals(aggregate, entry, fixed, weeks)
        elif rows:
            number, what = rows[-1].cells[0], f"people or more, in {last}"
            instead = f"It was {RETRACTED}." if number == RETRACTED else f"Fewer than {LISTED_FROM} people in {last}, or none."
            figure = (number, what) if number[0].isdigit() else ("", instead)
    is_listed = any(cell[0].isdigit() for row in rows for cell in row.cells)
    note = f"The files have {left_out:,} more rows, with smaller numbers." if left_out > 0 else ""
    span = f"in {last}" if first == last else f"from {first} to {last}"
    if not weeks:
        note = "No week has been published yet."
    elif not is_listed and mine:
        note = f"Nothing is listed {span}: all numbers were retracted."
    elif not is_listed:
        note = f"Nothing is listed {span}: fewer than {LISTED_FROM} people in each week, or none."
    query = {"from": weeks[0], "to": last} if weeks else {}
    return Chart(
        id=entry.id,
        question=entry.about(subject),
        level=str(entry.level),
        kind=kind,
        heads=heads,
        columns=columns,
        rows=rows if is_listed and not (figure and len(rows) == 1) else (),
        caption="People by week" if kind == "lines" else f"People in {last}",
        links={form.upper(): url_of(entry, subject or "", **query, format=form) for form in ("csv", "json")},
        colours=colours,
        totals=totals,
        figure=figure if is_listed else None,
        drawn=min(MAX_BARS, len(rows)),
        note=note,
        retractions=tuple(mine),
    )


def support_charts(coverage: Coverage) -> list[Chart]:
    """Return the charts of supported Python versions, today and by month."""
    columns = ("Newest release", "Only an older release", "No release")
    supports = [
        Row(
            (one.python,),
            tuple(str(len(names)) for names in (one.newest, one.older, one.nothing)),
            {0: f"#python-{one.python}"},
        )
        for one in coverage.supports
    ]
    months = [Row((one.day,), tuple(str(round(100 * fits / one.packages)) for fits in one.fits)) for one in coverage.months]
    return [
        Chart(
            id="supported", question="How many plugins can each Python version install?", kind="stack", heads=("Python",),
            columns=columns, colours=(1, 5, 8), rows=supports, caption="Plugins by release that each Python can install",
            links={"CSV": "/api/pythons?format=csv", "JSON": "/api/pythons"},
            note="A release counts if pip would install it: it allows the Python version, and has a source archive or a "
            "wheel for it on some platform. A missing upper bound counts as support.",
        ),
        Chart(
            id="trend", question="How has support changed?", kind="lines", heads=("Day",), columns=tuple(coverage.pythons),
            colours=colours_of(coverage.pythons, coverage.pythons[::-1]), rows=months if len(months) > 1 else (), unit="%",
            caption="Percentage of that day's plugins whose newest final release supported each Python version",
            links={"CSV": "/api/pythons?format=months-csv", "JSON": "/api/pythons"},
            note="" if len(months) > 1 else "Release dates are missing until the next refresh of the index.",
        ),
    ]  # fmt: skip


async def downloads_chart(aggregate: AggregateStore, key: str, downloads: Downloads, week: str | None) -> Chart:
    entry = next(entry for entry in CATALOGUE if entry.dimensions == (PLUGIN, PYTHON))
    found = await aggregate.numbers(entry, {PLUGIN.name: key}, since=week, until=week) if week else []
    people = {row.values[PYTHON.name]: f"{row.people:,}" for row in found}
    total = sum(downloads.by_python.values())
    rows = []
    for python in sort_versions({*downloads.by_python, *people})[::-1]:
        number = downloads.by_python.get(python, 0)
        beside = people.get(python, HIDDEN if week else "–")
        rows.append(Row((python,), (f"{number:,}", f"{100 * number / total:.0f} %", beside)))
    return Chart(
        id="downloads", question="Which Python versions is it downloaded for?", kind="table", heads=("Python",),
        columns=("Downloads", "Share", f"People{f', {week}' if week else ''}"), rows=rows,
        caption=f"Downloads in the 30 days to {downloads.until}, except those without a Python version",
        links={"pypistats.org": f"https://pypistats.org/packages/{key}"},
        note="Downloads are not people: every update, test run and mirror counts. People are those who chose to take part, "
        "each counted once a week.",
    )  # fmt: skip


async def _lines(
    aggregate: AggregateStore,
    entry: Entry,
    fixed: Mapping[str, str],
    free: Sequence[Dimension],
    weeks: Sequence[str],
    retractions: Sequence[Retraction],
) -> tuple[list[str], list[Row], int]:
    """Return the values with the largest numbers in any week, their rows, and the number of values left out."""
    since, until = (weeks[0], weeks[-1]) if weeks else ("9999", "")
    largest = await aggregate.largest(entry, fixed, since=since, until=until) if free else []
    drawn = [values[free[0].name] for values in largest[:MAX_LINES]] if free else []
    any_of = {free[0].name: drawn} if free else None
    most = len(weeks) * MAX_LINES + 1
    found = await aggregate.numbers(entry, fixed, since=since, until=until, limit=most, any_of=any_of)
    people = {(row.week, row.values[free[0].name] if free else ""): row.people for row in found}
    values = sort_versions(drawn) if free else [""]

    def text(week: str, value: str) -> str:
        if (number := people.get((week, value))) is not None:
            return f"{number:,}"
        known = {**fixed, **({free[0].name: value} if free else {})}
        return RETRACTED if any(one.covers(week, known) for one in retractions) else HIDDEN

    rows = [Row((week,), tuple(text(week, value) for value in values)) for week in weeks]
    return values, rows if values else [], len(largest) - MAX_LINES


async def _totals(
    aggregate: AggregateStore, entry: Entry, fixed: Mapping[str, str], weeks: Sequence[str]
) -> tuple[int | None, ...]:
    """Return the base of percentages by week: all participants, or all who have the plugin."""
    wholes = [one for one in CATALOGUE if one.topic == entry.topic and {part.name for part in one.dimensions} <= set(fixed)]
    if not wholes or not weeks:
        return ()
    found = await aggregate.numbers(wholes[0], fixed, since=weeks[0], until=weeks[-1])
    people = {row.week: row.people for row in found}
    return tuple(people.get(week) for week in weeks)


def colours_of(columns: Sequence[str], newest_first: Sequence[str]) -> tuple[int, ...]:
    """Return a colour, from 1 to `MAX_LINES`, for each column; a version's depends on its position in ``newest_first``."""
    taken: dict[str, int] = {}
    known = [name for name in newest_first if name in columns]
    for name in (*known, *(name for name in columns if name not in known)):
        wanted = newest_first.index(name) if name in known else columns.index(name)
        free = [place for place in range(MAX_LINES) if place not in taken.values()]
        taken[name] = min(free, key=lambda place: (place - wanted) % MAX_LINES) if free else wanted % MAX_LINES
    return tuple(taken[name] + 1 for name in columns)


def _bars(free: Sequence[Dimension], found: Sequence[PublicRow]) -> list[Row]:
    """Return the rows of a bar chart, largest first."""
    rows = []
    for row in sorted(found, key=lambda row: (-row.people, tuple(row.values.values())))[:MAX_ROWS]:
        values = [row.values[dimension.name] for dimension in free]
        links = {place: f"/plugins/{values[place]}" for place, dimension in enumerate(free) if dimension == PLUGIN}
        head = tuple(dimension.reads(value) for dimension, value in zip(free, values, strict=True))
        rows.append(Row(head, (f"{row.people:,}",), links))
    return rows


def sort_versions(values: Iterable[str]) -> list[str]:
    """Sort by PEP 440, with other values last. Fewer than two versions leave the order unchanged."""
    listed = list(values)
    keys = {value: version for value in listed if (version := parse_version(value))}
    if len(keys) < 2:
        return listed
    return sorted(keys, key=lambda value: keys[value]) + [value for value in listed if value not in keys]


def _concerns(one: Retraction, entry: Entry, fixed: Mapping[str, str], weeks: Sequence[str]) -> bool:
    is_in_span = bool(weeks) and one.first_week <= weeks[-1] and one.last_week >= weeks[0]
    return one.entry == entry.id and is_in_span and one.may_concern(fixed)
