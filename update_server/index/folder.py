"""The index as a folder on disk: written so that a web server can serve it meanwhile, read again by the next build.

Beside the files for clients lies the snapshot of the index, from which the next build takes what has not changed since and what
an upstream fails to give.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import httpx

from update_server.index import snapshot
from update_server.index.files import files_of
from update_server.index.snapshot import Index
from update_server.index.table import Tables

SNAPSHOT = "index.sqlite3"
OWN_FOLDERS = ("api", "feeds", "shields")
"""Folders in which only files of the index are kept; others belong to whoever publishes the site."""

MAX_SNAPSHOT = 512 * 2**20


class NoPreviousIndexError(Exception):
    """An earlier index that cannot be had; the text says why."""


def write(index: Index, tables: Tables, folder: Path) -> int:
    """Write the files of an index, and remove those that it no longer has; return how many there are.

    A file is replaced in one step, and only if its content has changed. Raises OSError.
    """
    wanted = {folder / path.removeprefix("/"): file.content for path, file in files_of(index, tables).items()}
    for path, content in wanted.items():
        if not path.is_file() or path.read_bytes() != content:
            _replace(path, content)
    for own in OWN_FOLDERS:
        for path in (folder / own).rglob("*"):
            if path.is_file() and path not in wanted:
                path.unlink()
    snapshot.write(index, folder / SNAPSHOT)
    (folder / SNAPSHOT).chmod(0o644)
    return len(wanted)


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(name).chmod(0o644)  # a web server runs as somebody else
    Path(name).replace(path)


def previous(place: str) -> Index | None:
    """Return the index of an earlier build, by folder or URL; None where there is none yet. Raises NoPreviousIndexError."""
    if not place.startswith(("http://", "https://")):
        return _read(Path(place) / SNAPSHOT)
    address = f"{place.rstrip('/')}/{SNAPSHOT}"
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / SNAPSHOT
        try:
            with httpx.stream("GET", address, follow_redirects=True, timeout=60) as response, path.open("wb") as file:
                if response.status_code == 404:
                    return None
                response.raise_for_status()
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    if file.tell() > MAX_SNAPSHOT:
                        raise NoPreviousIndexError(f"{address} is longer than {MAX_SNAPSHOT} bytes")
        except httpx.HTTPError as error:
            raise NoPreviousIndexError(f"{address} can't be read: {error}") from error
        return _read(path)


def _read(path: Path) -> Index | None:
    try:
        return snapshot.read(path)
    except snapshot.BrokenSnapshotError as error:
        raise NoPreviousIndexError(str(error)) from error
