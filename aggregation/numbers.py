"""Public numbers of one entry with what explains them: for the statistics API and ``python -m aggregation show``."""

from collections.abc import Mapping

from msgspec import Struct

from aggregation.catalogue import Entry
from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO
from aggregation.stores.aggregate import AggregateStore, PublicRow
from aggregation.stores.records import Records, Retraction

ALL_ROWS = 2**31 - 2


class Numbers(Struct):
    """Public numbers of one entry. Cells with fewer people than ``listed_from`` have no row.

    ``weeks``: the published ones, oldest first. ``retractions``: which of these numbers were retracted, and why. ``next``: the
    address of the next page, null at the end.
    """

    entry: str
    question: str
    listed_from: int
    rounded_down_to: int
    weeks: list[str]
    rows: list[PublicRow]
    retractions: list[Retraction]
    next: str | None = None


async def read_numbers(
    aggregate: AggregateStore,
    entry: Entry,
    fixed: Mapping[str, str],
    *,
    since: str = "",
    until: str = "9999",
    offset: int = 0,
    limit: int = ALL_ROWS,
) -> tuple[Numbers, bool]:
    """Return the numbers of an entry, and whether there are more rows than ``limit``.

    ``fixed``: values of some of its dimensions. ``since``, ``until``: weeks, both included. ``offset``: rows to skip.
    """
    page = await aggregate.rows(entry, fixed, since=since, until=until, offset=offset, limit=limit)
    retracted = await Records(aggregate.engine).retractions(entry.id, since, until)
    numbers = Numbers(
        entry=entry.id,
        question=entry.question,
        listed_from=LISTED_FROM,
        rounded_down_to=ROUNDED_DOWN_TO,
        weeks=await aggregate.public_weeks(since, until),
        rows=page.rows,
        retractions=[one for one in retracted if one.may_concern(fixed)],
    )
    return numbers, page.has_more
