"""Measure the time and memory that publishing a week needs.

    python -m benchmarks.aggregate [--reports N ...] [--postgresql URL] [--keep FOLDER]

Each report is of level full, with 12 of 660 plugins, 10 commands and 3 layers. Memory is sampled (Linux only), with and
without worker processes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aggregation.settings import AggregationSettings, Store
from aggregation.stores.raw import open_raw_store
from aggregation.stores.reports import report_of
from migrations import upgrade

WEEK, NOW = "2026-W40", "2026-11-01T00:00:00"
PLUGINS, PLUGINS_PER_REPORT, COMMANDS = 660, 12, 10
REPORTS_AT_A_TIME = 5000
SAMPLING_INTERVAL_S = 0.05

Row = tuple[str, str, str, int, str, int, str]


def sample_rows(count: int) -> Iterator[Row]:
    """Yield sample reports as rows, in key order."""
    dice = random.Random(1)
    names = [f"napari-plugin-{number}" for number in range(PLUGINS)]
    weights = list(accumulate(1 / (1 + number) ** 0.7 for number in range(PLUGINS)))
    for identifier in sorted(hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in range(count)):
        chosen: dict[str, None] = {}
        while len(chosen) < PLUGINS_PER_REPORT:
            chosen |= dict.fromkeys(dice.choices(names, cum_weights=weights, k=PLUGINS_PER_REPORT - len(chosen)))
        document = {
            "napari_version": dice.choice(["0.5.6", "0.6.1", "0.7.1", "0.9.2"]),
            "python_version": dice.choice(["3.10", "3.11", "3.12", "3.13"]),
            "platform": dice.choice(["linux", "darwin", "win32"]),
            "cpu_architecture": dice.choice(["x86_64", "arm64"]),
            "sys_name": dice.choice(["Debian 12", "macOS 14", "Windows 11"]),
            "first_report": dice.random() < 0.1,
            "plugins": [{"name": name, "version": f"0.{dice.randrange(4)}.0"} for name in chosen],
            "command_usage": {
                f"{name}.command_{number}": dice.choice([1, 10, 100])
                for name in islice(chosen, COMMANDS // 2)
                for number in range(2)
            },
            "data_size_info": [
                {
                    "layer": layer,
                    "size_category": dice.choice(["SMALL", "MEDIUM", "LARGE"]),
                    "ndim": dice.choice([2, 3, 4]),
                    "class": dice.choice(["ndarray", "dask.Array"]),
                    "dtype": dice.choice(["uint8", "uint16", "float32"]),
                    "count": dice.choice([1, 10]),
                }
                for layer in ("image", "labels", "points")
            ],
        }
        yield WEEK, identifier, "00000001", 1, "full", 1, json.dumps(document, separators=(",", ":"))


def prepare_sqlite(folder: Path, count: int) -> dict[str, str]:
    """Create SQLite stores, and fill the raw store unless it exists; return the settings."""
    (folder / "aggregate.sqlite3").unlink(missing_ok=True)
    urls = {store: str(AggregationSettings(data=folder).url(store)) for store in Store}
    if not (folder / "raw").exists():
        asyncio.run(upgrade(Store.RAW, urls[Store.RAW]))
        asyncio.run(_fill_raw_store(urls[Store.RAW], count))
    asyncio.run(upgrade(Store.AGGREGATE, urls[Store.AGGREGATE]))
    return {"UPDATE_SERVER_DATA": str(folder)}


async def _fill_raw_store(url: str, count: int) -> None:
    raw, rows = open_raw_store(url), sample_rows(count)
    while some := list(islice(rows, REPORTS_AT_A_TIME)):
        await raw.put([report_of(week, row) for week, *row in some])
    await raw.close()


async def prepare_postgresql(url: str, folder: Path, count: int) -> dict[str, str]:
    """Empty and fill a PostgreSQL database; return the settings."""
    import asyncpg

    database = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    await database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    for store in Store:
        await upgrade(store, url)
    await database.execute(f"SELECT make_partition('{WEEK}')")
    rows = sample_rows(count)
    while some := list(islice(rows, REPORTS_AT_A_TIME)):
        await database.copy_records_to_table("reports", records=some)
    await database.execute("ANALYZE reports")
    await database.close()
    return {"AGGREGATION_RAW_URL": url, "AGGREGATION_AGGREGATE_URL": url, "UPDATE_SERVER_DATA": str(folder)}


@dataclass
class Measurement:
    """The cost of publishing a week. ``all_mb`` includes worker processes."""

    seconds: float
    process_mb: float
    all_mb: float
    cells: int


def publish(settings: dict[str, str]) -> Measurement:
    """Publish the week in a new process, and measure it."""
    command = [sys.executable, "-m", "aggregation", "run", "--week", WEEK, "--now", NOW, "--json"]
    before = time.perf_counter()
    process = subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    own = together = 0.0
    while process.poll() is None:
        sizes = [_megabytes(pid) for pid in (process.pid, *_children(process.pid))]
        own, together = max(own, sizes[0]), max(together, sum(sizes))
        time.sleep(SAMPLING_INTERVAL_S)
    took = time.perf_counter() - before
    output = process.stdout.read() if process.stdout else ""
    (published,) = json.loads(output)
    assert published["outcome"] == "published", published
    return Measurement(took, own, together, published["cells"])


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _megabytes(pid: int) -> float:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--postgresql", help="URL of a database to measure as well; its contents are deleted")
    parser.add_argument("--keep", type=Path, help="folder for the SQLite stores, which the next run reuses")
    options = parser.parse_args()
    table = Table(
        "", "reports", "numbers", "seconds", "per million", "process", "with workers",
        title=f"Publishing a week, {os.cpu_count()} processors",
    )  # fmt: skip

    def measured(database: str, count: int, settings: dict[str, str]) -> None:
        it = publish(settings)
        figures: list[Any] = [f"{count:,}", f"{it.cells:,}", f"{it.seconds:.1f} s"]
        table.add_row(database, *figures, f"{it.seconds / count * 1e6:.0f} s", f"{it.process_mb:.0f} MB", f"{it.all_mb:.0f} MB")

    with tempfile.TemporaryDirectory() as folder:
        base = options.keep or Path(folder)
        for count in options.reports:
            print(f"SQLite, {count:,} reports", file=sys.stderr)
            measured("SQLite", count, prepare_sqlite(base / str(count), count))
        for count in options.reports if options.postgresql else ():
            print(f"PostgreSQL, {count:,} reports", file=sys.stderr)
            measured("PostgreSQL", count, asyncio.run(prepare_postgresql(options.postgresql, base, count)))
    Console().print(table)


if __name__ == "__main__":
    main()
