"""The raw store: one row per week and environment.

Each week is a separate SQLite file or PostgreSQL partition, so it can be deleted as a whole. The key is random each week,
and no column contains the time of arrival.
"""

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Protocol

from sqlalchemy import make_url

from aggregation.stores.reports import RawRow, Report, StoreResult


class RawStore(Protocol):
    """The interface of both raw stores. Methods raise SQLAlchemyError or OSError if the database is unavailable or full."""

    url: str
    web_lists_weeks: bool
    """Whether the web process may list the weeks with reports."""

    async def close(self) -> None:
        """Close all connections."""

    async def check(self) -> None:
        """Raise an error if the web process can't use the store."""

    async def put(self, reports: Sequence[Report]) -> list[StoreResult]:
        """Store reports; return the result for each, in order, once they are durable.

        The highest revision of a report is kept. A repeated report counts as stored and changes nothing. If this raises,
        some reports may be stored; storing them again is safe.
        """
        ...

    async def find(self, identifier: str) -> list[Report]:
        """Return the reports of an identifier, sorted by week and environment."""
        ...

    async def delete(self, identifier: str) -> int:
        """Delete the reports of an identifier; return how many. SQLite overwrites them on disk."""
        ...

    async def delete_before(self, week: str) -> int:
        """Delete the reports of all weeks before ``week``; return how many."""
        ...

    async def scrub_arrival_order(self, week: str) -> None:
        """Rewrite a week in key order, so that its files no longer reveal the order of arrival."""
        ...

    async def weeks(self) -> list[str]:
        """Return the weeks with reports, in order."""
        ...

    async def count(self, weeks: Collection[str]) -> dict[str, int]:
        """Return the number of reports by week."""
        ...

    def rows(self, week: str, first: str = "", last: str = "g") -> AsyncGenerator[list[RawRow]]:
        """Yield batches of reports with ``first`` <= identifier < ``last``, in key order."""
        ...


def open_raw_store(url: str) -> RawStore:
    """Return the raw store at a URL."""
    if make_url(url).get_backend_name() == "sqlite":
        from aggregation.stores.raw_sqlite import SqliteReports

        return SqliteReports(url)
    from aggregation.stores.raw_postgresql import PostgresqlReports

    return PostgresqlReports(url)
