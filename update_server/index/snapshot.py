"""The index on disk: one SQLite file, written whole and swapped in, so that a restart serves at once and offline."""

import contextlib
import gzip
import os
import sqlite3
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct, field

from update_server.index.model import FACTS_FORMAT, Facts

APPLICATION_ID = 0x6E617069  # "napi": tells our file from any other SQLite file
SNAPSHOT_FORMAT = 2


class Origin(StrEnum):
    """Where an index in memory came from."""

    SEED = "seed"
    SNAPSHOT = "snapshot"
    REFRESH = "refresh"


class Document(Struct, frozen=True):
    """A JSON text that the index passes on: gzip-compressed, with the ETag that its upstream gave it."""

    body: bytes
    etag: str | None = None

    @classmethod
    def of(cls, text: bytes, etag: str | None = None) -> Self:
        """Compress a text."""
        return cls(gzip.compress(text, 6, mtime=0), etag)

    def text(self) -> bytes:
        """Return the JSON text."""
        return gzip.decompress(self.body)


class Stale(Struct, frozen=True):
    """A project whose entry is that of an earlier refresh: since when (None: there is no entry at all), and why.

    ``has_vanished``: whether the upstream does not list it any more, instead of failing.
    """

    since: datetime | None
    error: str
    has_vanished: bool = False


class Index(Struct, frozen=True):
    """Everything that is served, at one time.

    ``documents`` by upstream path (``/api/manifest/affinder``); ``fact_etags`` of each package's release list, by key;
    ``changed``: since when the table with a given digest is what it is; ``stale`` and ``skipped`` by key: what could not be
    read, and what was left out; ``refused_wheels``: why a wheel cannot be used, by its digest.
    """

    facts: Facts
    origin: Origin
    documents: Mapping[str, Document] = field(default_factory=dict)
    fact_etags: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, datetime] = field(default_factory=dict)
    stale: Mapping[str, Stale] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    refused_wheels: Mapping[str, str] = field(default_factory=dict)


_decode_index = msgspec.json.Decoder(Index).decode  # not in the threads: see sources/parsing.py


class BrokenSnapshotError(Exception):
    """A file that this version cannot read as an index. The text says what to do."""


def write(index: Index, path: Path) -> None:
    """Replace the snapshot at ``path`` in one step: a reader, or a kill, sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".new", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        _write(index, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(index: Index, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = OFF")  # a file that fails is thrown away: nothing has to be undone
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SNAPSHOT_FORMAT}")
        database.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        database.execute("CREATE TABLE documents (path TEXT PRIMARY KEY, etag TEXT, body BLOB NOT NULL)")
        bare = msgspec.json.encode(msgspec.structs.replace(index, documents={}, origin=Origin.SNAPSHOT))
        database.execute("INSERT INTO meta VALUES ('index', ?)", (gzip.compress(bare, 6, mtime=0),))
        database.executemany(
            "INSERT INTO documents VALUES (?, ?, ?)",
            ((path, document.etag, document.body) for path, document in index.documents.items()),
        )
        database.commit()


def read(path: Path) -> Index | None:
    """Return the index at ``path``, or None where there is no file. Raises BrokenSnapshotError, which names path and reason."""
    if not path.exists():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            _check_form(database, path)
            (packed,) = database.execute("SELECT value FROM meta WHERE name = 'index'").fetchone()
            index = _decode_index(gzip.decompress(packed))
            documents = {
                name: Document(body, etag) for name, etag, body in database.execute("SELECT path, etag, body FROM documents")
            }
    except (sqlite3.Error, OSError, EOFError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise BrokenSnapshotError(f"Cannot read the index snapshot {path.name}: {error}") from error
    if index.facts.format != FACTS_FORMAT:
        raise BrokenSnapshotError(
            f"Cannot read the index snapshot {path.name}: its facts are of format {index.facts.format}, not {FACTS_FORMAT}"
        )
    return msgspec.structs.replace(index, documents=documents)


def _check_form(database: sqlite3.Connection, path: Path) -> None:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise BrokenSnapshotError(f"Cannot read the index snapshot {path.name}: it is another program's file")
    if version != SNAPSHOT_FORMAT:
        raise BrokenSnapshotError(
            f"Cannot read the index snapshot {path.name}: it was written in format {version}, not {SNAPSHOT_FORMAT}"
        )


def move_aside(path: Path) -> Path:
    """Rename a file that cannot be read, so that it can be looked at and stands in nobody's way; return its new name."""
    aside = path.with_name(f"{path.name}.broken-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    path.replace(aside)
    return aside
