"""One row a report with its document, or detail rows with dictionaries? Intake, aggregation and deletion together, side by
side.

    python -m benchmarks.schema [--reports N] [--postgresql URL]

Both schemas take the same made-up week (12 plugins of 660 each, popular ones more often), answer the same question
(installs of every plugin by Python version, at least ten people), and delete the same people. ``--postgresql``: an empty
database, to measure there as well.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

WEEK = "2026-W47"
PLUGINS, EACH, GROUP, DELETED = 660, 12, 200, 300
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


@dataclass(frozen=True)
class Made:
    """A report of the made-up week."""

    identifier: str
    python: str
    plugins: tuple[tuple[str, str], ...]

    @property
    def document(self) -> str:
        """The report as the service keeps it."""
        plugins = [{"name": name, "version": version} for name, version in self.plugins]
        return json.dumps({"python_version": self.python, "platform": "linux", "sys_name": "Debian 12", "plugins": plugins})


def made_week(count: int) -> list[Made]:
    """Return made-up reports."""
    dice = random.Random(1)
    names = [f"napari-plugin-{number}" for number in range(PLUGINS)]
    weights = [1 / (1 + number) ** 0.7 for number in range(PLUGINS)]
    reports = []
    for number in range(count):
        chosen = sorted(set(dice.choices(names, weights, k=EACH)))
        installed = tuple((name, f"0.{dice.randrange(4)}.0") for name in chosen)
        reports.append(Made(hashlib.sha256(str(number).encode()).hexdigest()[:32], dice.choice(PYTHONS), installed))
    return reports


def groups(reports: list[Made]) -> Iterator[list[Made]]:
    """Yield as many as share a transaction."""
    for start in range(0, len(reports), GROUP):
        yield reports[start : start + GROUP]


DOCUMENTS = """
CREATE TABLE reports (week TEXT, identifier TEXT, environment TEXT, document {json} NOT NULL,
    PRIMARY KEY (week, identifier, environment)){options}
"""
DETAILS = """
CREATE TABLE reports (week TEXT, identifier TEXT, environment TEXT, python TEXT, platform TEXT, sys_name TEXT,
    PRIMARY KEY (week, identifier, environment)){options};
CREATE TABLE names (number INTEGER PRIMARY KEY, name TEXT, version TEXT, UNIQUE (name, version));
CREATE TABLE installs (week TEXT, identifier TEXT, environment TEXT, plugin INTEGER,
    PRIMARY KEY (week, identifier, environment, plugin)){options}
"""
COUNT_DETAILS = """
SELECT n.name, r.python, count(DISTINCT r.identifier) FROM installs i JOIN names n ON n.number = i.plugin
JOIN reports r ON (r.week, r.identifier, r.environment) = (i.week, i.identifier, i.environment)
WHERE i.week = '2026-W47' GROUP BY 1, 2 HAVING count(DISTINCT r.identifier) >= 10
"""
COUNT_DOCUMENTS = {
    "SQLite": """
SELECT json_extract(p.value, '$.name'), r.document ->> '$.python_version', count(DISTINCT r.identifier)
FROM reports r JOIN json_each(r.document, '$.plugins') p
WHERE r.week = '2026-W47' GROUP BY 1, 2 HAVING count(DISTINCT r.identifier) >= 10
""",
    "PostgreSQL": """
SELECT p.value ->> 'name', r.document ->> 'python_version', count(DISTINCT r.identifier)
FROM reports r JOIN jsonb_array_elements(r.document -> 'plugins') p ON true
WHERE r.week = '2026-W47' GROUP BY 1, 2 HAVING count(DISTINCT r.identifier) >= 10
""",
}


def on_sqlite(reports: list[Made], with_details: bool) -> tuple[dict[str, float], list[Any]]:
    """Return seconds of each step and megabytes, and the cells."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "raw.sqlite3"
        database = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            database.execute(f"PRAGMA {pragma}")
        database.executescript((DETAILS if with_details else DOCUMENTS).format(json="TEXT", options=" WITHOUT ROWID"))

        def take() -> None:
            for group in groups(reports):
                database.execute("BEGIN IMMEDIATE")
                for report in group:
                    key = (WEEK, report.identifier, "00000001")
                    if not with_details:
                        database.execute("INSERT INTO reports VALUES (?, ?, ?, ?)", (*key, report.document))
                        continue
                    database.execute(
                        "INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?)", (*key, report.python, "linux", "Debian 12")
                    )
                    database.executemany("INSERT OR IGNORE INTO names (name, version) VALUES (?, ?)", report.plugins)
                    database.executemany(
                        "INSERT INTO installs SELECT ?, ?, ?, number FROM names WHERE name = ? AND version = ?",
                        [(*key, *plugin) for plugin in report.plugins],
                    )
                database.execute("COMMIT")

        def delete() -> None:
            for report in reports[:DELETED]:
                database.execute("BEGIN IMMEDIATE")
                for table in ("reports", "installs") if with_details else ("reports",):
                    database.execute(f"DELETE FROM {table} WHERE week = ? AND identifier = ?", (WEEK, report.identifier))
                database.execute("COMMIT")

        cells: list[Any] = []
        query = COUNT_DETAILS if with_details else COUNT_DOCUMENTS["SQLite"]
        figures = {"intake": timed(take), "aggregation": timed(lambda: cells.extend(database.execute(query)))}
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        figures["megabytes"] = path.stat().st_size / 1e6
        figures["deletion"] = timed(delete)
        database.close()
    return figures, sorted(cells)


async def on_postgresql(url: str, reports: list[Made], with_details: bool) -> tuple[dict[str, float], list[Any]]:
    """Return the same of an empty database on PostgreSQL; it is left empty."""
    import asyncpg

    database = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    await database.execute("DROP TABLE IF EXISTS reports, names, installs")
    script = (DETAILS if with_details else DOCUMENTS).format(json="jsonb", options="")
    await database.execute(
        script.replace("number INTEGER PRIMARY KEY", "number INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY")
    )
    figures: dict[str, float] = {}
    before = time.perf_counter()
    for group in groups(reports):
        async with database.transaction():
            if not with_details:
                rows = [(WEEK, report.identifier, "00000001", report.document) for report in group]
                await database.executemany("INSERT INTO reports VALUES ($1, $2, $3, $4)", rows)
                continue
            plain = [(WEEK, report.identifier, "00000001", report.python, "linux", "Debian 12") for report in group]
            await database.executemany("INSERT INTO reports VALUES ($1, $2, $3, $4, $5, $6)", plain)
            plugins = [(WEEK, report.identifier, "00000001", *plugin) for report in group for plugin in report.plugins]
            names = sorted({plugin[3:] for plugin in plugins})
            await database.executemany("INSERT INTO names (name, version) VALUES ($1, $2) ON CONFLICT DO NOTHING", names)
            await database.executemany(
                "INSERT INTO installs SELECT $1, $2, $3, number FROM names WHERE name = $4 AND version = $5", plugins
            )
    figures["intake"] = time.perf_counter() - before
    await database.execute("ANALYZE")
    before = time.perf_counter()
    cells = [tuple(row) for row in await database.fetch(COUNT_DETAILS if with_details else COUNT_DOCUMENTS["PostgreSQL"])]
    figures["aggregation"] = time.perf_counter() - before
    tables = ("reports", "names", "installs") if with_details else ("reports",)
    sizes = [await database.fetchval("SELECT pg_total_relation_size($1::regclass)", table) for table in tables]
    figures["megabytes"] = sum(sizes) / 1e6
    before = time.perf_counter()
    for report in reports[:DELETED]:
        async with database.transaction():
            for table in ("reports", "installs") if with_details else ("reports",):
                await database.execute(f"DELETE FROM {table} WHERE week = $1 AND identifier = $2", WEEK, report.identifier)
    figures["deletion"] = time.perf_counter() - before
    await database.execute("DROP TABLE IF EXISTS reports, names, installs")
    await database.close()
    return figures, sorted(cells)


def timed(work: Callable[[], None]) -> float:
    """Return how many seconds something takes."""
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=20_000)
    parser.add_argument("--postgresql", help="URL of an empty database")
    options = parser.parse_args()
    reports = made_week(options.reports)
    table = Table("", "schema", "intake /s", "aggregation", f"{DELETED} deletions", "size", title=f"{len(reports):,} reports")
    runs = {("SQLite", kind): on_sqlite(reports, kind) for kind in (False, True)}
    if options.postgresql:
        for kind in (False, True):
            runs["PostgreSQL", kind] = asyncio.run(on_postgresql(options.postgresql, reports, kind))
    assert len({json.dumps(cells) for _, cells in runs.values()}) == 1, "both schemas count the same"
    for (database, with_details), (figures, _) in runs.items():
        table.add_row(
            database,
            "detail rows" if with_details else "documents",
            f"{len(reports) / figures['intake']:,.0f}",
            f"{figures['aggregation'] * 1000:,.0f} ms",
            f"{figures['deletion'] * 1000:,.0f} ms",
            f"{figures['megabytes']:.1f} MB",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
