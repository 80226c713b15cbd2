"""The index in memory. It is replaced by one assignment, so readers always see a complete index."""

import asyncio
import gc
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Self

import msgspec
import structlog
from msgspec import Struct

from update_server.index import snapshot
from update_server.index.answers import Answers
from update_server.index.files import PLUGINS, SUMMARY, TABLES, files_of
from update_server.index.model import Package
from update_server.index.notices import NoticesError, PackageNotices, read_notices
from update_server.index.snapshot import BrokenSnapshotError, Index
from update_server.index.table import Tables, make_tables
from update_server.representations import Body

SEED = Path(str(files("update_server.index") / "seed.snapshot"))

log = structlog.get_logger()


class LoadedIndex(Struct, frozen=True):
    """An index with everything that is derived from it. ``files``: by path. ``packages``: by normalized name."""

    index: Index
    tables: Tables
    packages: Mapping[str, Package]
    files: Mapping[str, Body]
    answers: Answers

    @classmethod
    def of(cls, index: Index, tables: Tables) -> Self:
        """Derive everything from an index. This takes a second: call it in a thread."""
        found = files_of(index, tables)
        if (path := "/api/conda.json") in found:
            found["/api/conda"] = found[path]
        return cls(index, tables, index.facts.by_key(), found, Answers(index, tables))

    def compress(self) -> None:
        """Compress all files. This takes seconds: call it in a thread."""
        for path in (*TABLES.values(), PLUGINS[0], SUMMARY[0], "/api/conda", "/index.html"):
            if path in self.files:
                self.files[path].encode()
        for body in set(self.files.values()):
            if not body.is_encoded and "gzip" not in body.representations:
                body.encode(("gzip",), quickly=True)


class RefreshOutcome(Struct, frozen=True):
    """Result of a refresh. ``error``: None on success."""

    ended_at: datetime
    error: str | None = None


class IndexStore:
    """Loads, serves and saves the index.

    ``seed_path``: None for the seed in the package. ``takes_reports``: stated in the tables. ``notices``: path of the file,
    which is reread for each index.
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
        self._seed_path = seed_path or SEED
        self._check_again_s = check_again_s
        self._takes_reports = takes_reports
        self._notices_path = notices
        self._notices: Mapping[str, PackageNotices] = {}
        self.notices_error: str | None = None
        self._loaded_file: tuple[int, int] | None = None
        self.loaded: LoadedIndex | None = None
        self.last_refresh: RefreshOutcome | None = None
        self.error: str | None = None
        """Why there is no index, or why the snapshot was not saved."""

    def load(self, *, compress: bool = False) -> None:
        """Serve the snapshot, or the seed on the first start.

        If the snapshot is broken, serve nothing until a refresh succeeds: the older seed would silently revert answers.
        """
        file = self._stat()  # before reading, so that a file that is replaced meanwhile is read again
        try:
            index = snapshot.read(self._snapshot_path) or snapshot.decode(self._seed_path.read_bytes(), self._seed_path.name)
        except (BrokenSnapshotError, OSError) as error:
            message = f"{error}. The next refresh builds a new index."
            if message != self.error:  # otherwise already logged
                log.error("index_unreadable", message=message)
            self.error = message
        else:
            self._loaded_file = file
            self.error = None
            self._serve(index, self._tables_of(index, index.changed), compress=compress)
            log.info(
                "index_loaded", origin=index.origin, packages=len(index.facts.packages), as_of=index.facts.as_of.isoformat()
            )

    def load_if_replaced(self) -> bool:
        """Reload the snapshot if another process replaced it; return whether it did."""
        if self._stat() in (None, self._loaded_file):
            return False
        self.load(compress=True)
        return True

    def _tables_of(self, index: Index, changed: Mapping[str, datetime]) -> Tables:
        if self._notices_path is not None:
            try:
                self._notices, unlisted = read_notices(self._notices_path, index.facts.by_key(), index.facts.as_of.date())
                self.notices_error = f"Notices name unlisted packages: {', '.join(unlisted)}." if unlisted else None
            except NoticesError as error:
                self.notices_error = f"{error}. The last valid notices are shown."
            if self.notices_error:
                log.error("notices_faulty", message=self.notices_error)
        return make_tables(index.facts, changed, self._check_again_s, takes_reports=self._takes_reports, notices=self._notices)

    def replace(self, index: Index) -> None:
        """Serve and save a new index; serve it even if saving fails."""
        tables = self._tables_of(index, self.loaded.tables.changed if self.loaded else {})
        index = msgspec.structs.replace(index, changed=tables.changed)
        self.error = None
        try:
            snapshot.write(index, self._snapshot_path)
            self._loaded_file = self._stat()
        except OSError as error:
            reason = error.strerror or error
            name = self._snapshot_path.name  # without the folder, because the message is public
            self.error = f"The index can't be saved to {name} ({reason}), so the next start will serve an older one."
            log.error("snapshot_not_written", message=self.error)
        self._serve(index, tables, compress=True)

    async def compress(self) -> None:
        """Compress the loaded index off the event loop."""
        if self.loaded is not None:
            await asyncio.to_thread(self.loaded.compress)
            _freeze_gc()

    def _serve(self, index: Index, tables: Tables, *, compress: bool) -> None:
        loaded = LoadedIndex.of(index, tables)
        if compress:
            loaded.compress()
        self.loaded = loaded
        if compress:
            _freeze_gc()

    def _stat(self) -> tuple[int, int] | None:
        try:
            stat = self._snapshot_path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino


def _freeze_gc() -> None:
    """Exclude the index from garbage collection, which would block requests for tens of milliseconds.

    Collect the previous index first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
