"""Build the content of a certificate from published numbers only, so it reveals nothing new. No I/O.

The median of an even number of weeks is the lower middle value, so it is a published number. Weeks below ten count as zero.
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
MAX_CERTIFIED_WEEKS = 520
BREAKDOWNS: tuple[Dimension, ...] = (PYTHON, PLATFORM)

HOW_COUNTED = (
    "Every number counts people who chose to take part and have the plugin installed, each once a week, however many "
    "environments they have.",
    f"{RULE} So the true number of people who take part is at least the one given, and at most 14 more.",
    "A week is published once, 14 days after its end, and can afterwards only be retracted, with a public reason.",
    "People who used several Python versions or platforms in a week are counted in each row, so rows may add up to more than "
    "the weekly number.",
    "The share of users who take part is unknown: the numbers are lower bounds, not estimates of all users.",
    "Identifiers are not authenticated, so one person could be counted more than once. The service limits that, and documents "
    "how.",
)

State = Literal["listed", "fewer", "retracted", "unpublished"]


class WeekNumber(Struct, frozen=True):
    """The number of a week. ``people``: rounded down, null unless ``listed``. State ``fewer``: below ten, zero included."""

    week: str
    state: State
    people: int | None


class Summary(Struct, frozen=True):
    """A summary of weekly numbers. ``median``: null if below ten. ``listed``: how many weeks have a number."""

    median: int | None
    peak: int
    peak_week: str
    listed: int


class Row(Struct, frozen=True):
    """The summary for one value of a breakdown."""

    value: str
    summary: Summary


class Breakdown(Struct, frozen=True):
    """Rows by one dimension. Values below ten in every week have no row. ``retracted``: whether rows may be missing."""

    dimension: str
    title: str
    rows: list[Row]
    retracted: bool = False


class Statement(Struct, frozen=True):
    """The signed content, as JSON. ``iss``: site; ``jti``: certificate number; ``iat``: Unix time; ``sub``: plugin."""

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


class CertificateError(Exception):
    """A certificate can't be issued, or a key can't be used; the message says why and what to do."""


def certificate_entries() -> dict[Dimension | None, Entry]:
    """Return the entries of a certificate by breakdown; the key None is the count without a breakdown."""
    by_dimensions = {entry.dimensions: entry for entry in CATALOGUE if entry.fixed == 1}
    return {None: by_dimensions[(PLUGIN,)]} | {one: by_dimensions[PLUGIN, one] for one in BREAKDOWNS}


def weeks_between(first: str, last: str) -> list[str]:
    """Return the weeks from ``first`` to ``last``, both included. Raises InvalidWeekError."""
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
    """Return the statement about weeks ``first`` to ``last``. Raises CertificateError.

    ``rows``: public numbers by key of `certificate_entries`. ``retractions``: those that cover any of these weeks.
    """
    needed = certificate_entries()
    mine = [one for one in retractions if may_affect_certificate(one, needed, plugin)]
    weeks = weeks_between(first, last)

    def summary_of(entry: Entry, numbers: Mapping[str, int], value: dict[str, str]) -> Summary | None:
        retracted_weeks = _retracted_weeks(entry, value | {PLUGIN.name: plugin}, mine, weeks)
        counted = [week for week in weeks if week in numbers or (week in published and week not in retracted_weeks)]
        return _summary({week: numbers.get(week) for week in counted})

    plain = needed[None]
    numbers = {row.week: row.people for row in rows[None]}
    installs = summary_of(plain, numbers, {})
    if installs is None and mine:
        reasons = "; ".join(dict.fromkeys(one.reason for one in mine))
        raise CertificateError(
            f"There are no public numbers of {plugin} from {first} to {last}: they were retracted ({reasons})."
        )
    if installs is None:
        raise CertificateError(
            f"There are no public numbers of {plugin} from {first} to {last}: fewer than {LISTED_FROM} participants had it in "
            "each of these weeks, or the weeks are not published, or the index has no such plugin."
        )
    retracted_weeks = _retracted_weeks(plain, {PLUGIN.name: plugin}, mine, weeks)
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
        weeks=[_week(week, numbers, published, retracted_weeks) for week in weeks],
        installs=installs,
        breakdowns=breakdowns,
        entries=[entry.id for entry in needed.values()],
        retractions=mine,
    )


def may_affect_certificate(retraction: Retraction, needed: Mapping[Any, Entry], plugin: str) -> bool:
    """Return whether a retraction may affect a certificate of a plugin."""
    return retraction.entry in {one.id for one in needed.values()} and retraction.may_concern({PLUGIN.name: plugin})


def _retracted_weeks(
    entry: Entry, values: Mapping[str, str], retractions: Sequence[Retraction], weeks: Sequence[str]
) -> set[str]:
    mine = [one for one in retractions if one.entry == entry.id]
    return {week for week in weeks if any(one.covers(week, values) for one in mine)}


def _week(week: str, numbers: Mapping[str, int], published: Sequence[str], retracted_weeks: set[str]) -> WeekNumber:
    if week in numbers:
        return WeekNumber(week, "listed", numbers[week])
    if week not in published:
        return WeekNumber(week, "unpublished", None)
    return WeekNumber(week, "retracted" if week in retracted_weeks else "fewer", None)


def _summary(numbers: Mapping[str, int | None]) -> Summary | None:
    """Summarize weeks, or return None if no week has a number. Unlisted weeks count as zero in the median."""
    listed = {week: number for week, number in numbers.items() if number is not None}
    if not listed:
        return None
    median = statistics.median_low([number or 0 for number in numbers.values()])
    peak_week = max(listed, key=lambda week: listed[week])
    return Summary(median or None, listed[peak_week], peak_week, len(listed))
