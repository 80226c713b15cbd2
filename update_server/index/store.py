"""The index that is served now, and how the next one replaces it.

A reader takes one reference and has a whole index: the swap is one assignment.
"""

import asyncio
import gc
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec
import structlog
from msgspec import Struct

from update_server.index import seed, snapshot
from update_server.index.answers import Answers
from update_server.index.files import HEADERS, PLUGINS, SUMMARY, TABLES, files_of
from update_server.index.model import Package
from update_server.index.notices import NoticesError, PackageNotices, read_notices
from update_server.index.snapshot import BrokenSnapshotError, Index
from update_server.index.table import Tables, make_tables
from update_server.representations import Body

log = structlog.get_logger()


class LoadedIndex(Struct, frozen=True):
    """An index with everything that is served of it. ``files`` by path, ready to be sent; ``packages`` by key."""

    index: Index
    tables: Tables
    packages: Mapping[str, Package]
    files: Mapping[str, Body]
    answers: Answers

    @classmethod
    def of(cls, index: Index, tables: Tables) -> Self:
        """Return an index as it is served, not compressed yet. Takes a second: call it in a thread."""
        bodies: dict[int, Body] = {}  # the same file has several paths
        found = {}
        for path, file in files_of(index, tables).items():
            if id(file) not in bodies:
                bodies[id(file)] = Body(file.content, file.media_type, headers=HEADERS, gzipped=file.packed)
            found[path] = bodies[id(file)]
        if (path := "/api/conda.json") in found:
            found["/api/conda"] = found[path]
        return cls(index, tables, index.facts.by_key(), found, Answers(index, tables))

    def compress(self) -> None:
        """Compress the files that are asked for often. Takes seconds: call it in a thread."""
        for path in (*TABLES.values(), PLUGINS[0], SUMMARY[0], "/api/conda", "/index.html"):
            if path in self.files:
                self.files[path].encode()
        for body in set(self.files.values()):
            if not body.is_encoded and "gzip" not in body.representations:
                body.encode(("gzip",), quickly=True)


class RefreshOutcome(Struct, frozen=True):
    """How the last refresh ended: ``error`` is None where it went well."""

    ended_at: datetime
    error: str | None = None


class IndexStore:
    """Holds the index that is served.

    ``snapshot_path``: the index on disk. ``seed_path``: the seed to begin with, None for the shipped one. ``takes_reports``:
    whether the service accepts usage reports, which the update tables say. ``notices``: the file that is read with each index.
    """

    def __init__(
        self,
        snapshot_path: Path,
        seed_path: Path | None,
        check_again_s: int,
        *,
        takes_reports: bool = False,
        notices: Path | None = None,
    ) -> None:
        self._snapshot_path = snapshot_path
        self._seed_path = seed_path
        self._check_again_s = check_again_s
        self._takes_reports = takes_reports
        self._notices_path = notices
        self._notices: Mapping[str, PackageNotices] = {}
        self.notices_error: str | None = None
        self._read_from: tuple[int, int] | None = None
        self.loaded: LoadedIndex | None = None
        self.last_refresh: RefreshOutcome | None = None
        self.error: str | None = None
        """Why nothing is served, or why the snapshot was not written."""

    def load(self, *, compress: bool = False) -> None:
        """Serve the snapshot, or on the very first start the seed. At a start at once, and then `compress`.

        If it is broken, nothing is served until a refresh succeeds: the older seed would silently take answers back.
        """
        try:
            index = snapshot.read(self._snapshot_path) or seed.read(self._seed_path or seed.shipped())
        except (BrokenSnapshotError, seed.BrokenSeedError) as error:
            self.error = f"{error}. A new index is built from the upstream."
            log.error("index_unreadable", message=self.error)
        else:
            self._note_file()
            self._serve(index, compress=compress)
            log.info(
                "index_loaded", origin=index.origin, packages=len(index.facts.packages), as_of=index.facts.as_of.isoformat()
            )

    def load_if_replaced(self) -> bool:
        """Serve the snapshot on disk if another process has written a new one; tell whether that was so."""
        if self._stat() in (None, self._read_from):
            return False
        self.load(compress=True)
        return True

    def _tables_of(self, index: Index, changed: Mapping[str, datetime]) -> Tables:
        if self._notices_path is not None:
            try:
                self._notices, unlisted = read_notices(self._notices_path, index.facts.by_key(), index.facts.as_of.date())
                self.notices_error = f"Notices name packages that are not listed: {', '.join(unlisted)}." if unlisted else None
            except NoticesError as error:
                self.notices_error = f"{error}. Those that were read last are shown."
            if self.notices_error:
                log.error("notices_faulty", message=self.notices_error)
        return make_tables(index.facts, changed, self._check_again_s, takes_reports=self._takes_reports, notices=self._notices)

    def replace(self, index: Index) -> None:
        """Serve a new index and keep it on disk. Where the disk is full or read-only, it is served all the same."""
        tables = self._tables_of(index, self.loaded.tables.changed if self.loaded else {})
        index = msgspec.structs.replace(index, changed=tables.changed)
        self.error = None
        try:
            snapshot.write(index, self._snapshot_path)
            self._note_file()
        except OSError as error:
            reason = error.strerror or error
            name = self._snapshot_path.name  # no path: this is shown in public
            self.error = f"The index can't be written to {name} ({reason}): the next start will serve an older one."
            log.error("snapshot_not_written", message=self.error)
        loaded = LoadedIndex.of(index, tables)
        loaded.compress()
        self.loaded = loaded
        _freeze_gc()

    async def compress(self) -> None:
        """Compress the index that was loaded at the start, off the event loop."""
        if self.loaded is not None:
            await asyncio.to_thread(self.loaded.compress)
            _freeze_gc()

    def _serve(self, index: Index, *, compress: bool) -> None:
        loaded = LoadedIndex.of(index, self._tables_of(index, index.changed))
        if compress:
            loaded.compress()
        self.loaded = loaded
        self.error = None
        if compress:
            _freeze_gc()

    def _stat(self) -> tuple[int, int] | None:
        try:
            stat = self._snapshot_path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino

    def _note_file(self) -> None:
        self._read_from = self._stat()


def _freeze_gc() -> None:
    """Take what lives long out of the garbage collector's rounds.

    An index is some hundred thousand objects, and a full round over them stops every request for tens of milliseconds. The
    remains of an older index are collected first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
