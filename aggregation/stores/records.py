"""Public records: retracted numbers, and inspections of raw reports."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa
from msgspec import Struct

from aggregation.catalogue import Entry
from aggregation.stores.aggregate import cells_of
from aggregation.stores.aggregate_tables import CELLS, INSPECTIONS, RETRACTIONS, Inspection
from aggregation.stores.engines import Queries


class Retraction(Struct, frozen=True, rename={"first_week": "from", "last_week": "to"}):
    """Retracted numbers and the reason, as shown in the API, on pages and in certificates.

    ``of``: their values by dimension; empty for all numbers of the entry. ``first_week``, ``last_week``: both included.
    ``retracted_at``: UTC, as ``2026-11-20T08:00:00Z``.
    """

    entry: str
    of: dict[str, str]
    first_week: str
    last_week: str
    reason: str
    retracted_at: str

    def covers(self, week: str, values: Mapping[str, str]) -> bool:
        """Return whether it covers a week's number with these values. Dimensions missing from ``values`` do not match."""
        return self.first_week <= week <= self.last_week and all(values.get(name) == one for name, one in self.of.items())

    def may_concern(self, fixed: Mapping[str, str]) -> bool:
        """Return whether it may cover a number with these ``fixed`` values."""
        return all(self.of.get(name, value) == value for name, value in fixed.items())


class Records(Queries):
    """Retractions and inspections in the aggregate store."""

    async def retract(self, chosen: Iterable[tuple[Entry, Mapping[str, str], str, str]], reason: str, now: datetime) -> int:
        """Remove numbers and record why, in one transaction; return how many were removed.

        ``chosen``: entries, values of some of their dimensions, first and last week. Without matching numbers, nothing is
        recorded.
        """
        removed = 0
        async with self.write_transaction() as connection:
            for entry, of, first, last in chosen:
                gone = (await connection.execute(sa.delete(CELLS).where(*cells_of(entry, of, first, last)))).rowcount
                if gone:
                    removed += gone
                    row = {"entry": entry.id, "of": dict(of), "first_week": first, "last_week": last}
                    await connection.execute(sa.insert(RETRACTIONS).values(**row, reason=reason, retracted_at=now))
        return removed

    async def count(self, entry: Entry, of: Mapping[str, str], first: str, last: str) -> int:
        """Return how many numbers a retraction would remove."""
        (found,) = await self.values(sa.select(sa.func.count()).select_from(CELLS).where(*cells_of(entry, of, first, last)))
        return int(found)

    async def retractions(self, entry: str | None = None, since: str = "", until: str = "9999") -> list[Retraction]:
        """Return retractions, of one entry or of all, that cover any week from ``since`` to ``until``."""
        columns = [column for column in RETRACTIONS.columns if column.name != "id"]
        query = sa.select(*columns).where(RETRACTIONS.c.last_week >= since, RETRACTIONS.c.first_week <= until)
        if entry is not None:
            query = query.where(RETRACTIONS.c.entry == entry)
        rows = await self.rows(query.order_by(RETRACTIONS.c.id))
        return [Retraction(**{**row, "retracted_at": f"{row['retracted_at']:%Y-%m-%dT%H:%M:%SZ}"}) for row in rows]

    async def record_inspection(self, week: str, most: int, reason: str, now: datetime) -> None:
        """Record publicly that the operator is about to look at raw reports."""
        await self.write(sa.insert(INSPECTIONS).values(week=week, most=most, reason=reason, inspected_at=now))

    async def inspections(self) -> list[Inspection]:
        """Return all inspections, newest first."""
        return [Inspection(**row) for row in await self.rows(sa.select(INSPECTIONS).order_by(INSPECTIONS.c.id.desc()))]
