"""The index that is served now, and how the next one takes its place.

A reader takes one reference and has a whole index: the swap is one assignment.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from pathlib import Path

import msgspec
import structlog
from cachetools import FIFOCache
from msgspec import Struct

from update_server.index import seed, snapshot
from update_server.index.bodies import UpdateBodies
from update_server.index.fitting import FittingLists
from update_server.index.model import Package
from update_server.index.snapshot import BrokenSnapshotError, Index
from update_server.representations import Representation

MOST_ANSWERS = 4096

log = structlog.get_logger()


class Served(Struct, frozen=True):
    """An index with the answers made from it."""

    index: Index
    bodies: UpdateBodies
    packages: Mapping[str, Package]
    fitting: FittingLists
    answers: MutableMapping[tuple[bytes, bytes], tuple[bytes, Representation]]
    """The answers to update checks by query and Accept-Encoding, as they were asked."""

    @classmethod
    def of(cls, index: Index, bodies: UpdateBodies) -> Served:
        """Return an index as it is served."""
        return cls(index, bodies, index.facts.by_key(), FittingLists(index, bodies), FIFOCache(MOST_ANSWERS))


class RefreshOutcome(Struct, frozen=True):
    """How the last refresh ended: ``error`` is None where it went well."""

    ended_at: datetime
    error: str | None = None


class IndexKeeper:
    """Holds what is served.

    ``snapshot_path``: the index on disk. ``seed_path``: the seed to begin with, None for the shipped one.
    """

    def __init__(self, snapshot_path: Path, seed_path: Path | None, check_again_s: int) -> None:
        self._snapshot_path = snapshot_path
        self._seed_path = seed_path
        self._check_again_s = check_again_s
        self._read_from: tuple[int, int] | None = None
        self.served: Served | None = None
        self.last_refresh: RefreshOutcome | None = None
        self.trouble: str | None = None
        """Why nothing is served, or what was moved aside, in a sentence."""

    def load(self, *, encode: bool = False) -> None:
        """Serve the snapshot, or on the very first start the seed. At a start at once, and then `encode`.

        A snapshot or seed that is broken is moved aside and nothing is served until a refresh succeeds: falling back from a
        broken snapshot to the older seed would silently take answers back. The shipped seed is left in its place, which is the
        package manager's.
        """
        try:
            index = snapshot.read(self._snapshot_path) or seed.read(self._seed_path or seed.shipped())
        except BrokenSnapshotError as error:
            self._report(str(error), self._snapshot_path)
        except seed.BrokenSeedError as error:
            self._report(str(error), self._seed_path)
        else:
            self._note_file()
            self._serve(index, encode=encode)
            log.info(
                "index_loaded", origin=index.origin, packages=len(index.facts.packages), as_of=index.facts.as_of.isoformat()
            )

    def load_if_replaced(self) -> bool:
        """Serve the snapshot on disk if another process has written a new one; tell whether that was so."""
        if self._stat() in (None, self._read_from):
            return False
        self.load(encode=True)
        return True

    def take(self, packed: bytes) -> bool:
        """Serve a snapshot that another replica offers, and keep it; tell whether it could be read, else nothing changes."""
        temporary = self._snapshot_path.with_suffix(".shared")
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(packed)
            index = snapshot.read(temporary)
            temporary.replace(self._snapshot_path)
        except (BrokenSnapshotError, OSError) as error:
            log.error("shared_index_unreadable", error=str(error))
            return False
        finally:
            temporary.unlink(missing_ok=True)
        if index is None:
            return False
        self._note_file()
        self._serve(index, encode=True)
        log.info("index_taken_from_replica", packages=len(index.facts.packages), as_of=index.facts.as_of.isoformat())
        return True

    def packed(self) -> bytes:
        """Return the snapshot as it lies on disk, to be offered to other replicas. Raises OSError."""
        return self._snapshot_path.read_bytes()

    def replace(self, index: Index) -> None:
        """Serve a new index and keep it on disk. Where that is full or not writable, it is served all the same."""
        bodies = UpdateBodies(index.facts, self.served.bodies.changed if self.served else {}, check_again_s=self._check_again_s)
        index = msgspec.structs.replace(index, changed=bodies.changed)
        self.trouble = None
        try:
            snapshot.write(index, self._snapshot_path)
            self._note_file()
        except (OSError, sqlite3.Error) as error:
            reason, name = (
                getattr(error, "strerror", None) or error,
                self._snapshot_path.name,
            )  # no path: this is shown in public
            self.trouble = f"The index can't be written to {name} ({reason}): the next start will serve an older one."
            log.error("snapshot_not_written", message=self.trouble)
        bodies.encode()
        self.served = Served.of(index, bodies)
        _settle()

    async def encode(self) -> None:
        """Compress the bodies of the index that was loaded at the start, off the event loop."""
        if self.served is not None:
            await asyncio.to_thread(self.served.bodies.encode)
            _settle()

    def _serve(self, index: Index, *, encode: bool) -> None:
        bodies = UpdateBodies(index.facts, index.changed, check_again_s=self._check_again_s)
        if encode:
            bodies.encode()
        self.served = Served.of(index, bodies)
        self.trouble = None
        if encode:
            _settle()

    def _report(self, message: str, broken: Path | None) -> None:
        try:
            moved = f" It was moved aside to {snapshot.move_aside(broken).name}." if broken and broken.exists() else ""
        except OSError as error:
            moved = f" It could not be moved aside ({error}): delete it."
        self.trouble = f"{message}.{moved} A new index is built from the upstream."
        log.error("index_unreadable", message=self.trouble)

    def _stat(self) -> tuple[int, int] | None:
        try:
            stat = self._snapshot_path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino

    def _note_file(self) -> None:
        self._read_from = self._stat()


def _settle() -> None:
    """Take what lives long out of the garbage collector's rounds.

    An index is some hundred thousand objects, and a full round over them stops every request for tens of milliseconds. What
    an older index left goes first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
