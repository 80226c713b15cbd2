"""The service's files, read directly from disk."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Any

Numbers = dict[str, dict[tuple[str, ...], int]]
"""Numbers of people by catalogue entry and row values."""


@dataclass(frozen=True)
class ServiceData:
    """Data and logs of the service. ``folder``: contains both."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def raw(self, query: str) -> dict[str, list[tuple[Any, ...]]]:
        """Return each week's rows for a query; leave out weeks without rows."""
        answers = {path.stem: self._ask(path, query) for path in sorted((self.data / "raw").glob("*.sqlite3"))}
        return {week: rows for week, rows in answers.items() if rows}

    def _ask(self, file: Path, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()

    def raw_weeks(self) -> set[str]:
        """Return weeks by file name, because the service may be deleting a file."""
        return {path.stem for path in (self.data / "raw").glob("*.sqlite3")}

    def raw_rows(self) -> int:
        """Count raw reports; call only while the service deletes no week."""
        return sum(len(rows) for rows in self.raw("SELECT 1 FROM reports").values())

    def published_weeks(self) -> set[str]:
        return {week for (week,) in self._ask(self.data / "aggregate.sqlite3", "SELECT week FROM published_weeks")}

    def size_of(self, store: str) -> int:
        """Return the size of a store on disk, in bytes."""
        size = 0
        for pattern in (f"{store}.sqlite3*", f"{store}/*"):
            for path in self.data.glob(pattern):
                with contextlib.suppress(FileNotFoundError):  # the service may be closing or deleting it
                    size += path.stat().st_size
        return size

    def identifiers(self) -> set[str]:
        """Return every string in the data or log that could be an identifier."""
        found: set[str] = set()
        for _, content in self._contents(self.data, self.log):
            for run in re.findall(rb"[0-9a-f]{32,}", content):
                found |= {run[place : place + 32].decode() for place in range(len(run) - 31)}
        return found

    def export(self, code: Path) -> dict[str, list[dict[str, Any]]]:
        """Return public numbers by entry. ``code``: source folder of the release that exports."""
        command = [sys.executable, "-m", "aggregation", "export", str(self._exported), "--format", "json"]
        known = environ | {"UPDATE_SERVER_DATA": str(self.data), "PYTHONPATH": str(code)}
        subprocess.run(command, env=known, cwd=code, check=True, capture_output=True)
        files = (self._exported / "json").iterdir()
        read = {path.stem: json.loads(path.read_text("utf-8")) for path in files}
        return {entry: rows for entry, rows in read.items() if entry not in ("weeks", "retractions")}

    def files_with(self, *private: str) -> list[str]:
        found = self._contents(self.data, self.log, self._exported)
        return sorted(path.name for path, content in found if any(one.encode() in content for one in private))

    @property
    def _exported(self) -> Path:
        return self.folder / "export"

    def _contents(self, *places: Path) -> Iterator[tuple[Path, bytes]]:
        for place in places:
            for path in (place, *place.rglob("*")):
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # the service may be closing or deleting it
                    yield path, path.read_bytes()


def by_week(exported: dict[str, list[dict[str, Any]]]) -> dict[str, Numbers]:
    found: dict[str, Numbers] = defaultdict(lambda: defaultdict(dict))
    for entry, rows in exported.items():
        for row in rows:
            values = tuple(str(value) for name, value in row.items() if name not in ("week", "people"))
            found[row["week"]][entry][values] = row["people"]
    return found
