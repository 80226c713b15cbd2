"""The index on disk: one file, so that a restart works offline."""

import contextlib
import gzip
import os
import tempfile
import time
import zlib
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct, field

from update_server.index.model import Facts

NAME = "index.snapshot"
MAGIC = b"napari index 4\n"
"""First bytes of the file, with the format version; the CRC-32 of the rest follows."""
CRC_BYTES = 4
LEFTOVER_AGE_S = 3600
"""Age in seconds after which a temporary file must belong to a killed process."""


class Origin(StrEnum):
    """Where an index comes from."""

    SEED = "seed"
    SNAPSHOT = "snapshot"
    REFRESH = "refresh"


class Document(Struct, frozen=True):
    """A JSON text from upstream, compressed with gzip, with its ETag."""

    body: bytes
    etag: str | None = None

    @classmethod
    def of(cls, text: bytes, etag: str | None = None) -> Self:
        return cls(gzip.compress(text, 6, mtime=0), etag)

    def text(self) -> bytes:
        return gzip.decompress(self.body)


class Stale(Struct, frozen=True):
    """Why an entry is out of date. ``since``: None if there is no earlier entry. ``has_vanished``: no longer listed."""

    since: datetime | None
    error: str
    has_vanished: bool = False


class Index(Struct, frozen=True):
    """The plugin index.

    ``documents``: texts by path (``/api/manifest/affinder``). ``fact_etags``: ETags of release lists by key. ``changed``:
    see `Tables`. ``stale``, ``skipped``: reasons by key. ``refused_wheels``: reasons by digest.
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


# Created at import because threads must not create them: see sources/parsing.py.
_decode_file = msgspec.msgpack.Decoder(_File).decode
_decode_index = msgspec.json.Decoder(Index).decode


class BrokenSnapshotError(Exception):
    """The snapshot is unreadable."""


def write(index: Index, path: Path) -> None:
    """Write a snapshot atomically. Raises OSError."""
    origin = Origin.SEED if index.origin is Origin.SEED else Origin.SNAPSHOT
    bare = msgspec.json.encode(msgspec.structs.replace(index, documents={}, origin=origin))
    file = _File(gzip.compress(bare, 9, mtime=0), index.documents)
    content = msgspec.msgpack.encode(file)
    replace_file(path, MAGIC + zlib.crc32(content).to_bytes(CRC_BYTES, "big") + content)
    for leftover in path.parent.glob(".new-*"):
        with contextlib.suppress(FileNotFoundError):  # another process has just finished
            if time.time() - leftover.stat().st_mtime > LEFTOVER_AGE_S:
                leftover.unlink()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file atomically: readers see the old or the new content, even after a crash. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # public; the web server may run as another user
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> Index | None:
    """Return the index at ``path``, or None if there is no file. Raises BrokenSnapshotError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BrokenSnapshotError(f"Cannot read the index snapshot {path.name}: {error.strerror or error}") from error
    return decode(content, path.name)


def decode(content: bytes, name: str) -> Index:
    """Return the index in ``content``. Raises BrokenSnapshotError, which mentions ``name``."""
    try:
        if not content.startswith(MAGIC):
            raise ValueError("it is not a snapshot in this version's format")
        start = len(MAGIC) + CRC_BYTES
        rest = memoryview(content)[start:]
        if zlib.crc32(rest) != int.from_bytes(content[len(MAGIC) : start], "big"):
            raise ValueError("it is damaged")
        file = _decode_file(rest)
        index = _decode_index(gzip.decompress(file.index))
    except (OSError, EOFError, ValueError, zlib.error, msgspec.MsgspecError) as error:
        raise BrokenSnapshotError(f"Cannot read the index snapshot {name}: {error}") from error
    return msgspec.structs.replace(index, documents=file.documents)
