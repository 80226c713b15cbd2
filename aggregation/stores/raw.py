"""The raw store: one row for one week of one environment, and each week apart.

A week is a SQLite file, or a partition on PostgreSQL, so deleting a week is removing it. The key is what the client made up for
that week, and no column tells when a report arrived.
"""

from collections.abc import AsyncGenerator, Collection, Sequence
from typing import Protocol

from sqlalchemy import make_url

from aggregation.stores.reports import RawRow, Report, Stored


class RawStore(Protocol):
    """The raw reports, for those who may see them: the intake, their owners, the aggregation.

    All methods raise SQLAlchemyError or OSError where the database is away or full.
    """

    url: str
    web_lists_weeks: bool
    """Whether the web process may know of which weeks there are reports."""

    async def close(self) -> None:
        """Give back all connections."""

    async def check(self) -> None:
        """Raise an error if the web process can't use the store."""

    async def put(self, reports: Sequence[Report]) -> list[Stored]:
        """Store reports, and return what became of each, in order, once that is durable.

        The highest revision of a report is kept. A repeat of what is held counts as stored and changes nothing. Where this
        raises, some may be stored: sent again, they are repeats.
        """
        ...

    async def find(self, identifier: str) -> list[Report]:
        """Return all that is stored for an identifier, by week and environment."""
        ...

    async def delete(self, identifier: str) -> int:
        """Delete all that is stored for an identifier; return how many reports that were. SQLite keeps no trace of them."""
        ...

    async def delete_before(self, week: str) -> int:
        """Delete all weeks before ``week``; return how many reports that were."""
        ...

    async def put_in_order(self, week: str) -> None:
        """Rewrite a week in the order of its key, so that the database's files no longer show who reported first."""
        ...

    async def weeks(self) -> list[str]:
        """Return the weeks of which there are reports, in order."""
        ...

    async def count(self, weeks: Collection[str]) -> dict[str, int]:
        """Return how many reports there are of each of these weeks."""
        ...

    def rows(self, week: str, first: str = "", last: str = "g") -> AsyncGenerator[list[RawRow]]:
        """Yield the reports with identifiers from ``first`` to below ``last``, in the order of their key, some at a time."""
        ...


def open_raw_store(url: str) -> RawStore:
    """Return the raw store at a URL: a folder of SQLite files, or a PostgreSQL database."""
    if make_url(url).get_backend_name() == "sqlite":
        from aggregation.stores.raw_sqlite import SqliteReports

        return SqliteReports(url)
    from aggregation.stores.raw_postgresql import PostgresqlReports

    return PostgresqlReports(url)
