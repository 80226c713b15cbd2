"""What a certificate says: the public numbers of a plugin over some weeks, and how they came about (pure).

Made of published numbers alone, so that it can't say more than everybody may see. A median is always one of the published
numbers: the lower one, where two are in the middle. A week in which a plugin is not listed counts as the least of all, whether
nobody had it or nine people did.
"""

import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field
from napari_telemetry.weeks import next_week

from aggregation.catalogue import CATALOGUE, PLATFORM, PLUGIN, PYTHON, Dimension, Entry
from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO, RULE
from aggregation.stores.aggregate import PublicRow
from aggregation.stores.records import Retraction

STATEMENT_VERSION = 1
MOST_WEEKS = 520
BREAKDOWNS: tuple[Dimension, ...] = (PYTHON, PLATFORM)

HOW_COUNTED = (
    "Every number counts people who chose to take part and have the plugin installed, each once a week, however many "
    "environments they have.",
    f"{RULE} So the true number of people who take part is at least the one given, and at most 14 more.",
    "A week is published once, 14 days after its end, and can afterwards only be retracted, with a public reason.",
    "People who used several Python versions or platforms in a week are counted in each row, so rows may add up to more than "
    "the weekly number.",
    "Which share of all users takes part is not known and can't be: the numbers are a lower bound, no estimate of all users.",
    "Identifiers are not authenticated: somebody who is determined could have counted more than once. The service limits that "
    "and says how.",
)

State = Literal["listed", "fewer", "retracted", "unpublished"]


class WeekNumber(Struct, frozen=True):
    """One week. ``people``: rounded down; null unless it is ``listed``. ``fewer``: than ten, zero included."""

    week: str
    state: State
    people: int | None


class Summary(Struct, frozen=True):
    """Some weeks in short. ``median``: null where it is fewer than ten. ``listed``: in how many weeks there was a number."""

    median: int | None
    peak: int
    peak_week: str
    listed: int


class Row(Struct, frozen=True):
    """Those of a plugin's people who share a value, such as a Python version."""

    value: str
    summary: Summary


class Breakdown(Struct, frozen=True):
    """Rows by one dimension. Values that fewer than ten people share in every week have none.

    ``retracted``: whether some of these numbers were taken back, so that a row may be missing for that.
    """

    dimension: str
    title: str
    rows: list[Row]
    retracted: bool = False


class Statement(Struct, frozen=True):
    """What is signed, as JSON. ``iss``: the site; ``jti``: the certificate's number; ``iat``: seconds since 1970; ``sub``: the
    plugin."""

    iss: str
    jti: str
    iat: int
    sub: str
    first_week: str
    last_week: str
    weeks: list[WeekNumber]
    installs: Summary
    breakdowns: list[Breakdown]
    entries: list[str]
    retractions: list[Retraction]
    version: int = STATEMENT_VERSION
    listed_from: int = LISTED_FROM
    rounded_down_to: int = ROUNDED_DOWN_TO
    unit: str = "people who take part, each once a week"
    how_counted: list[str] = field(default_factory=lambda: list(HOW_COUNTED))


class NothingToStateError(Exception):
    """There is no public number that a certificate could state."""


def entries_needed() -> dict[Dimension | None, Entry]:
    """Return the entries that a certificate is made of: the plain count of a plugin (under None), and each breakdown."""
    by_dimensions = {entry.dimensions: entry for entry in CATALOGUE if entry.fixed == 1}
    return {None: by_dimensions[(PLUGIN,)]} | {one: by_dimensions[PLUGIN, one] for one in BREAKDOWNS}


def weeks_between(first: str, last: str) -> list[str]:
    """Return all weeks from ``first`` to ``last``, both included. Raises InvalidWeekError."""
    weeks = [first]
    while weeks[-1] < last:
        weeks.append(next_week(weeks[-1]))
    return weeks


def make_statement(
    *,
    site: str,
    number: str,
    now: datetime,
    plugin: str,
    first: str,
    last: str,
    published: Sequence[str],
    rows: Mapping[Dimension | None, Sequence[PublicRow]],
    retractions: Sequence[Retraction],
) -> Statement:
    """Return the statement about ``plugin`` from ``first`` to ``last``.

    ``published``: all published weeks. ``rows``: the plugin's public numbers of each entry of `entries_needed`.
    ``retractions``: those of these entries that touch these weeks. Raises NothingToStateError.
    """
    needed = entries_needed()
    mine = [one for one in retractions if touches(one, needed, plugin)]
    weeks = weeks_between(first, last)

    def summary_of(entry: Entry, numbers: Mapping[str, int], value: dict[str, str]) -> Summary | None:
        taken_back = _weeks_taken_back(entry, value | {PLUGIN.name: plugin}, mine, weeks)
        counted = [week for week in weeks if week in numbers or (week in published and week not in taken_back)]
        return _summary({week: numbers.get(week) for week in counted})

    plain = needed[None]
    numbers = {row.week: row.people for row in rows[None]}
    installs = summary_of(plain, numbers, {})
    if installs is None and mine:
        reasons = "; ".join(dict.fromkeys(one.reason for one in mine))
        raise NothingToStateError(
            f"There are no public numbers of {plugin} from {first} to {last}: they were retracted ({reasons})."
        )
    if installs is None:
        raise NothingToStateError(
            f"There are no public numbers of {plugin} from {first} to {last}: fewer than {LISTED_FROM} people of those who "
            "take part had it in each of these weeks, or no such week is published, or the index has no such plugin."
        )
    taken_back = _weeks_taken_back(plain, {PLUGIN.name: plugin}, mine, weeks)
    breakdowns = []
    for dimension in BREAKDOWNS:
        by_value: dict[str, dict[str, int]] = {}
        for row in rows[dimension]:
            by_value.setdefault(row.values[dimension.name], {})[row.week] = row.people
        summaries = {
            value: summary_of(needed[dimension], by_week, {dimension.name: value}) for value, by_week in by_value.items()
        }
        listed = [Row(value, summary) for value, summary in sorted(summaries.items()) if summary is not None]
        taken = any(one.entry == needed[dimension].id for one in mine)
        breakdowns.append(Breakdown(dimension.name, dimension.title, listed, taken))
    return Statement(
        iss=site,
        jti=number,
        iat=int(now.timestamp()),
        sub=plugin,
        first_week=first,
        last_week=last,
        weeks=[_week(week, numbers, published, taken_back) for week in weeks],
        installs=installs,
        breakdowns=breakdowns,
        entries=[entry.id for entry in needed.values()],
        retractions=mine,
    )


def touches(retraction: Retraction, needed: Mapping[Any, Entry], plugin: str) -> bool:
    """Whether a retraction concerns numbers that a certificate of ``plugin`` is made of."""
    return retraction.entry in {one.id for one in needed.values()} and retraction.may_concern({PLUGIN.name: plugin})


def _weeks_taken_back(
    entry: Entry, values: Mapping[str, str], retractions: Sequence[Retraction], weeks: Sequence[str]
) -> set[str]:
    """The weeks of which the numbers with these values were retracted."""
    mine = [one for one in retractions if one.entry == entry.id]
    return {week for week in weeks if any(one.covers(week, values) for one in mine)}


def _week(week: str, numbers: Mapping[str, int], published: Sequence[str], taken_back: set[str]) -> WeekNumber:
    if week in numbers:
        return WeekNumber(week, "listed", numbers[week])
    if week not in published:
        return WeekNumber(week, "unpublished", None)
    return WeekNumber(week, "retracted" if week in taken_back else "fewer", None)


def _summary(numbers: Mapping[str, int | None]) -> Summary | None:
    """Some weeks in short, None where no week has a number. Unlisted weeks are below every number."""
    listed = {week: number for week, number in numbers.items() if number is not None}
    if not listed:
        return None
    median = statistics.median_low([number or 0 for number in numbers.values()])
    peak_week = max(listed, key=lambda week: listed[week])
    return Summary(median or None, listed[peak_week], peak_week, len(listed))
