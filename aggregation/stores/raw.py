"""The raw store: one row per week and environment, each week separate.

A week is a SQLite file or a PostgreSQL partition, so it can be deleted as a whole. The key is random per week, and no
column holds the time of arrival.
"""

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Protocol

from sqlalchemy import make_url

from aggregation.stores.reports import RawRow, Report, Stored


class RawStore(Protocol):
    """All methods raise SQLAlchemyError or OSError if the database is unavailable or full."""

    url: str
    web_lists_weeks: bool
    """Whether the web process may list the weeks with reports."""

    async def close(self) -> None:
        """Close all connections."""

    async def check(self) -> None:
        """Raise an error if the web process can't use the store."""

    async def put(self, reports: Sequence[Report]) -> list[Stored]:
        """Store reports; return the result for each, in order, once they are durable.

        The highest revision of a report is kept. A repeat counts as stored and changes nothing. If this raises, some reports
        may be stored; sending them again is safe.
        """
        ...

    async def find(self, identifier: str) -> list[Report]:
        """Sorted by week and environment."""
        ...

    async def delete(self, identifier: str) -> int:
        """Return the number of reports. SQLite keeps no trace of them."""
        ...

    async def delete_before(self, week: str) -> int:
        """Return the number of reports."""
        ...

    async def scrub_arrival_order(self, week: str) -> None:
        """Rewrite a week in key order: its files then no longer show the order of arrival."""
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
    if make_url(url).get_backend_name() == "sqlite":
        from aggregation.stores.raw_sqlite import SqliteReports

        return SqliteReports(url)
    from aggregation.stores.raw_postgresql import PostgresqlReports

    return PostgresqlReports(url)
