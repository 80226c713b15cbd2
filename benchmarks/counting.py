"""Which engine counts a week? The same questions about the same reports, side by side, each engine with what it needs.

    python -m benchmarks.counting [--reports N]

The questions are those of the catalogue about plugins. ``SQL``: one statement for each on SQLite, with ``json_each``.
``DuckDB`` and ``Polars``: some thousand reports at a time, each person whole, as ours does; measured where they are installed
(``pip install duckdb polars``), because the service needs neither. ``ours``: ``aggregation.counting`` in one process. Each runs
in a process of its own, so that its memory can be told; all must count the same.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import multiprocessing
import resource
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aggregation.catalogue import CATALOGUE, PLUGIN
from aggregation.counting import Counting
from benchmarks.aggregate import WEEK, on_sqlite

ENTRIES = tuple(entry for entry in CATALOGUE if PLUGIN in entry.dimensions)
AT_A_TIME = 5000
Cells = Counter[tuple[str, ...]]


def with_ours(file: Path) -> Cells:
    """Count with the program's own pass."""
    counting = Counting(ENTRIES)
    for some in _parts(file):
        counting.add([(identifier, "full", 1, document) for identifier, document in some])
    people = counting.counts().people
    return Counter(
        {(entry.id, *values): number for entry, cells in zip(ENTRIES, people, strict=True) for values, number in cells}
    )


def with_sql(file: Path) -> Cells:
    """Count with one statement an entry."""
    cells: Cells = Counter()
    with sqlite3.connect(file) as database:
        for entry in ENTRIES:
            values = [
                f"json_extract(items.value, '$.{one.part}')" if one.part else f"json_extract(document, '$.{one.field}')"
                for one in entry.dimensions
            ]
            query = (
                f"SELECT {', '.join(values)}, count(DISTINCT identifier) FROM reports, json_each(document, '$.plugins') AS "
                f"items WHERE week = ? GROUP BY {', '.join(values)}"
            )
            cells |= Counter({(entry.id, *row[:-1]): row[-1] for row in database.execute(query, (WEEK,))})
    return cells


def with_duckdb(file: Path) -> Cells:
    """Count with DuckDB, which reads the JSON itself, on two threads."""
    import duckdb  # type: ignore[import-not-found,unused-ignore]

    fields = dict.fromkeys(("napari_version", "python_version", "platform"), "VARCHAR")
    shape = json.dumps(fields | {"plugins": [{"name": "VARCHAR", "version": "VARCHAR"}]})
    database = duckdb.connect(":memory:", config={"threads": 2})
    cells: Cells = Counter()
    for some in _parts(file):
        columns = [[identifier for identifier, _ in some], [document for _, document in some]]
        lists = "unnest($1::varchar[]) who, unnest($2::varchar[]) document"
        database.execute(f"CREATE OR REPLACE TABLE docs AS SELECT {lists}", columns)
        database.execute(f"CREATE OR REPLACE TABLE r AS SELECT who, unnest(from_json(document, '{shape}')) FROM docs")
        database.execute("CREATE OR REPLACE TABLE items AS SELECT * EXCLUDE plugins, unnest(plugins, recursive := true) FROM r")
        for entry in ENTRIES:
            names = ", ".join(one.part or one.field for one in entry.dimensions)
            rows = database.execute(f"SELECT {names}, count(DISTINCT who) FROM items GROUP BY {names}").fetchall()
            for *values, number in rows:
                cells[(entry.id, *values)] += number
    return cells


def with_polars(file: Path) -> Cells:
    """Count with Polars, on columns that msgspec's decoder fills."""
    import msgspec
    import polars as pl  # type: ignore[import-not-found,unused-ignore]

    decode = msgspec.json.Decoder(dict[str, Any]).decode
    cells: Cells = Counter()
    for some in _parts(file):
        documents = [decode(document) for _, document in some]
        lists = [document["plugins"] for document in documents]
        flat = list(chain.from_iterable(lists))
        of = [repeat(place, len(items)) for place, items in enumerate(lists)]
        place = pl.Series("place", list(chain.from_iterable(of)), dtype=pl.UInt32)
        base = pl.DataFrame(
            {"who": [identifier for identifier, _ in some]}
            | {name: [document[name] for document in documents] for name in ("napari_version", "python_version", "platform")}
        ).with_row_index("place")
        items = pl.DataFrame({"place": place} | {key: [item[key] for item in flat] for key in ("name", "version")})
        joined = items.join(base, on="place")
        for entry in ENTRIES:
            names = [one.part or one.field for one in entry.dimensions]
            for *values, number in joined.group_by(names).agg(pl.col("who").n_unique()).iter_rows():
                cells[(entry.id, *values)] += number
    return cells


def _parts(file: Path) -> Iterator[list[tuple[str, str]]]:
    """The reports in the order of their key, some at a time. (In this week everybody has one report.)"""
    with sqlite3.connect(file) as database:
        query = "SELECT identifier, document FROM reports WHERE week = ? ORDER BY identifier, environment"
        rows = database.execute(query, (WEEK,))
        while some := rows.fetchmany(AT_A_TIME):
            yield some


def _measured(count: Callable[[Path], Cells], file: Path, told: Any) -> None:
    before = time.perf_counter()
    cells = count(file)
    took = time.perf_counter() - before
    digest = hashlib.sha256(json.dumps(sorted(cells.items())).encode()).hexdigest()
    told.send((took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(cells), digest))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=50_000)
    options = parser.parse_args()
    engines = {"ours": with_ours, "SQL": with_sql, "DuckDB": with_duckdb, "Polars": with_polars}
    title = f"{len(ENTRIES)} questions about plugins, {options.reports:,} reports"
    table = Table("engine", "seconds", "to ours", "memory", "cells", title=title)
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        on_sqlite(Path(folder), options.reports)
        first: tuple[float, str] | None = None
        for name, count in engines.items():
            if name in ("DuckDB", "Polars") and importlib.util.find_spec(name.lower()) is None:
                table.add_row(name, "not installed", "", "", "")
                continue
            here, there = spawn.Pipe()
            process = spawn.Process(target=_measured, args=(count, Path(folder) / "raw.sqlite3", there))
            process.start()
            took, memory, cells, digest = here.recv()
            process.join()
            first = first or (took, digest)
            assert digest == first[1], f"{name} counts otherwise"
            table.add_row(name, f"{took:.1f} s", f"{took / first[0]:.1f}", f"{memory:.0f} MB", f"{cells:,}")
    Console().print(table)


if __name__ == "__main__":
    main()
