"""What is said in public about the numbers and the raw reports: retractions, and inspections by hand."""

from collections.abc import Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncEngine

from aggregation.catalogue import Entry
from aggregation.stores.aggregate import cells_of
from aggregation.stores.aggregate_tables import CELLS, INSPECTIONS, RETRACTIONS, Inspection, aware, in_utc
from aggregation.stores.engines import WRITES


class Retraction(Struct, frozen=True, rename={"first_week": "from", "last_week": "to"}):
    """Numbers that were retracted, and why: in the API, on pages and in certificates.

    ``of``: values that they had, by dimension; empty for all numbers of the entry. ``first_week``, ``last_week``: both
    included. ``retracted_at``: UTC, as ``2026-11-20T08:00:00Z``.
    """

    entry: str
    of: dict[str, str]
    first_week: str
    last_week: str
    reason: str
    retracted_at: str

    def covers(self, week: str, values: Mapping[str, str]) -> bool:
        """Whether the number of a week with these values was retracted by this."""
        return self.first_week <= week <= self.last_week and self.matches(values)

    def matches(self, values: Mapping[str, str]) -> bool:
        """Whether numbers with these values were retracted. A dimension that ``values`` lacks does not match."""
        return all(values.get(name) == value for name, value in self.of.items())

    def may_concern(self, fixed: Mapping[str, str]) -> bool:
        """Whether some numbers with these ``fixed`` values may be among the retracted."""
        return all(self.of.get(name, value) == value for name, value in fixed.items())


class Records:
    """Retractions and inspections, in the aggregate store."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def retract(self, entry: Entry, of: Mapping[str, str], first: str, last: str, reason: str, now: datetime) -> int:
        """Remove the numbers of an entry from ``first`` to ``last``, both included, and write down why; see `retract_all`."""
        return await self.retract_all([(entry, of, first, last)], reason, now)

    async def retract_all(self, chosen: Iterable[tuple[Entry, Mapping[str, str], str, str]], reason: str, now: datetime) -> int:
        """Remove numbers, and write down why, in one transaction; return how many there were.

        ``chosen``: entries, values that some of their dimensions have, the first and the last week. Of what has no number
        nothing is written.
        """
        removed = 0
        async with self._engine.execution_options(**WRITES).begin() as connection:
            for entry, of, first, last in chosen:
                gone = (await connection.execute(sa.delete(CELLS).where(*cells_of(entry, of, first, last)))).rowcount
                removed += gone
                if not gone:
                    continue
                await connection.execute(
                    sa.insert(RETRACTIONS).values(
                        entry=entry.id, of=dict(of), first_week=first, last_week=last, reason=reason, retracted_at=now
                    )
                )
        return removed

    async def count(self, entry: Entry, of: Mapping[str, str], first: str, last: str) -> int:
        """Return how many numbers a retraction would remove."""
        async with self._engine.connect() as connection:
            query = sa.select(sa.func.count()).select_from(CELLS).where(*cells_of(entry, of, first, last))
            return int(await connection.scalar(query) or 0)

    async def retractions(self, entry: str | None = None, since: str = "", until: str = "9999") -> list[Retraction]:
        """Return what was taken back, of one entry or of all, where it touches the weeks from ``since`` to ``until``."""
        columns = [column for column in RETRACTIONS.columns if column.name != "id"]
        query = sa.select(*columns).where(RETRACTIONS.c.last_week >= since, RETRACTIONS.c.first_week <= until)
        if entry is not None:
            query = query.where(RETRACTIONS.c.entry == entry)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query.order_by(RETRACTIONS.c.id))).mappings()
            return [Retraction(**{**row, "retracted_at": f"{aware(row['retracted_at']):%Y-%m-%dT%H:%M:%SZ}"}) for row in rows]

    async def note_inspection(self, week: str, most: int, reason: str, now: datetime) -> None:
        """Write down, in public, that somebody is about to look at raw reports."""
        async with self._engine.execution_options(**WRITES).begin() as connection:
            await connection.execute(sa.insert(INSPECTIONS).values(week=week, most=most, reason=reason, inspected_at=now))

    async def inspections(self) -> list[Inspection]:
        """Return all inspections, newest first."""
        async with self._engine.connect() as connection:
            rows = (await connection.execute(sa.select(INSPECTIONS).order_by(INSPECTIONS.c.id.desc()))).mappings()
            return [Inspection(**in_utc(row)) for row in rows]
