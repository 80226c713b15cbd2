"""The index on disk: one file, replaced in one step, so that a restart serves at once and offline."""

import gzip
import os
import tempfile
import zlib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct, field

from update_server.index.model import FACTS_FORMAT, Facts

NAME = "index.snapshot"
MAGIC = b"napari index 3\n"
"""First bytes of the file, with the version of its format."""


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


class _File(Struct):
    index: bytes
    documents: Mapping[str, Document]


# Made here, and not in the threads: see sources/parsing.py.
_decode_file = msgspec.msgpack.Decoder(_File).decode
_decode_index = msgspec.json.Decoder(Index).decode


class BrokenSnapshotError(Exception):
    """A file that this version cannot read as an index."""


def write(index: Index, path: Path) -> None:
    """Replace the snapshot at ``path``. Raises OSError."""
    bare = msgspec.json.encode(msgspec.structs.replace(index, documents={}, origin=Origin.SNAPSHOT))
    file = _File(gzip.compress(bare, 6, mtime=0), index.documents)
    replace_file(path, MAGIC + msgspec.msgpack.encode(file))


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: a reader, or a kill, sees the old one or the new one. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # another user may serve it: public data
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> Index | None:
    """Return the index at ``path``, or None if there is no file. Raises BrokenSnapshotError with file name and reason."""
    try:
        content = path.read_bytes()
        if not content.startswith(MAGIC):
            raise ValueError("it is not a snapshot of this version")
        file = _decode_file(memoryview(content)[len(MAGIC) :])
        index = _decode_index(gzip.decompress(file.index))
        if index.facts.format != FACTS_FORMAT:
            raise ValueError(f"its facts are of format {index.facts.format}, not {FACTS_FORMAT}")
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError, zlib.error, msgspec.MsgspecError) as error:
        raise BrokenSnapshotError(f"Cannot read the index snapshot {path.name}: {error}") from error
    return msgspec.structs.replace(index, documents=file.documents)
