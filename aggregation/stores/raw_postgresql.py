"""The raw store on PostgreSQL: a table partitioned by week. The web process may only call functions.

Vacuum and WAL recycling remove deleted rows from the disk (docs/scaling.md).
"""

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from aggregation.stores.engines import make_engine
from aggregation.stores.reports import Outcome, RawRow, Report, StoreResult, report_of

ATTEMPTS, RETRY_DELAY_S = 20, 3.0
"""How often, and how many seconds apart, to try dropping partitions while others read them."""
LOCK_NOT_AVAILABLE = "55P03"
ROWS_AT_A_TIME = 2000

_PUT = sa.text(
    "SELECT outcome, held FROM put_reports(:week, CAST(:identifiers AS text[]), CAST(:environments AS text[]), "
    "CAST(:revisions AS integer[]), CAST(:levels AS text[]), CAST(:schema_versions AS integer[]), CAST(:documents AS text[]))"
)
_FIND = sa.text("SELECT * FROM find_reports(:identifier)")
_ROWS = sa.text(
    "SELECT identifier, environment, revision, level, schema_version, document FROM reports "
    "WHERE week = :week AND identifier >= :first AND identifier < :last ORDER BY identifier, environment"
)
_WEEKS = sa.text("SELECT week FROM weeks_of_reports() AS week WHERE EXISTS (SELECT FROM reports r WHERE r.week = week.week)")


class PostgresqlReports:
    """The raw store on PostgreSQL."""

    web_lists_weeks = False

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = make_engine(url)
        self._intake = make_engine(url, pool_pre_ping=False, isolation_level="AUTOCOMMIT")  # saves round trips

    async def close(self) -> None:
        await self.engine.dispose()
        await self._intake.dispose()

    async def check(self) -> None:
        async with self.engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))

    async def put(self, reports: Sequence[Report]) -> list[StoreResult]:
        """Store reports. Each revision of a report needs its own statement: a statement does not see its own changes."""
        rounds: list[dict[tuple[str, str, str], int]] = []
        for place, report in enumerate(reports):
            key = (report.week, report.identifier, report.environment)
            mine = next((one for one in rounds if key not in one), None)
            if mine is None:
                rounds.append(mine := {})
            mine[key] = place
        outcomes: dict[int, StoreResult] = {}
        async with self._intake.connect() as connection:
            for one in rounds:
                for week in sorted({week for week, *_ in one}):
                    places = [place for key, place in one.items() if key[0] == week]
                    chosen = [reports[place] for place in places]
                    values = {
                        "week": week,
                        "identifiers": [report.identifier for report in chosen],
                        "environments": [report.environment for report in chosen],
                        "revisions": [report.revision for report in chosen],
                        "levels": [report.level for report in chosen],
                        "schema_versions": [report.schema_version for report in chosen],
                        "documents": [msgspec.json.encode(report.document).decode() for report in chosen],
                    }
                    rows = (await connection.execute(_PUT, values)).all()
                    stored = [StoreResult(Outcome(outcome), held) for outcome, held in rows]
                    outcomes |= dict(zip(places, stored, strict=True))
        return [outcomes[place] for place in range(len(reports))]

    async def find(self, identifier: str) -> list[Report]:
        async with self.engine.connect() as connection:
            rows = await connection.execute(_FIND, {"identifier": identifier})
            return [report_of(week, row) for week, *row in rows]

    async def delete(self, identifier: str) -> int:
        async with self.engine.begin() as connection:
            return int(await connection.scalar(sa.text("SELECT delete_reports(:it)"), {"it": identifier}) or 0)

    async def delete_before(self, week: str) -> int:
        """Drop old partitions. DROP waits for readers and blocks new reports, so give up after a second and retry."""
        for attempt in range(ATTEMPTS):
            try:
                async with self.engine.begin() as connection:
                    await connection.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
                    return int(await connection.scalar(sa.text("SELECT delete_reports_before(:week)"), {"week": week}) or 0)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(RETRY_DELAY_S)
        raise AssertionError("unreachable")

    async def scrub_arrival_order(self, week: str) -> None:
        """Rewrite the partition: ``ctid`` and ``xmin`` reveal the order of arrival."""
        async with self.engine.begin() as connection:
            await connection.execute(sa.text("SELECT scrub_arrival_order(:week)"), {"week": week})

    async def weeks(self) -> list[str]:
        async with self.engine.connect() as connection:
            return list((await connection.execute(_WEEKS)).scalars())

    async def count(self, weeks: Collection[str]) -> dict[str, int]:
        counted: dict[str, int] = {}
        async with self.engine.connect() as connection:
            for week in weeks:
                query = sa.text("SELECT count(*) FROM reports WHERE week = :week")
                counted[week] = int(await connection.scalar(query, {"week": week}) or 0)
        return counted

    async def rows(self, week: str, first: str = "", last: str = "g") -> AsyncGenerator[list[RawRow]]:
        async with self.engine.connect() as connection:
            result = await connection.stream(_ROWS, {"week": week, "first": first, "last": last})
            async for rows in result.partitions(ROWS_AT_A_TIME):
                yield [tuple(row) for row in rows]
