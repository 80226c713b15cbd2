"""The index as a folder on disk, safe to serve while it is written.

The next build takes unchanged entries from its snapshot, and those that an upstream fails to deliver.
"""

import http.client
import urllib.error
import urllib.request
from pathlib import Path

import structlog

from update_server.index import snapshot
from update_server.index.files import files_of
from update_server.index.snapshot import Index
from update_server.index.sources.fetching import UpstreamError
from update_server.index.table import Tables, make_tables

MAX_SNAPSHOT = 512 * 2**20

log = structlog.get_logger()


def write(index: Index, tables: Tables, folder: Path) -> int:
    """Write changed files atomically, delete obsolete ones, and return the number of files. Raises OSError."""
    earlier = _read(folder / snapshot.NAME)
    wanted = {folder / path.removeprefix("/"): file.identity for path, file in files_of(index, tables).items()}
    for path, content in wanted.items():
        if not path.is_file() or path.read_bytes() != content:
            snapshot.replace_file(path, content)
    if earlier is not None:
        for name in files_of(earlier, make_tables(earlier.facts, {}, 0)):
            if (path := folder / name.removeprefix("/")) not in wanted:
                path.unlink(missing_ok=True)
    snapshot.write(index, folder / snapshot.NAME)
    return len(wanted)


def previous(place: str) -> Index | None:
    """Return the index of an earlier build from a folder or URL, or None if it is missing or unreadable.

    Raises UpstreamError if the site cannot be reached, because its entries must not be lost.
    """
    if not place.startswith(("http://", "https://")):
        return _read(Path(place) / snapshot.NAME)
    address = f"{place.rstrip('/')}/{snapshot.NAME}"
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:  # noqa: S310 - chosen by the operator
            return snapshot.decode(answer.read(MAX_SNAPSHOT), address)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise UpstreamError(f"{address} answered {error.code}") from error
    except snapshot.BrokenSnapshotError as error:
        log.warning("previous_index_unreadable", error=str(error))
        return None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UpstreamError(f"{address} can't be read: {error}") from error


def _read(path: Path) -> Index | None:
    try:
        return snapshot.read(path)
    except snapshot.BrokenSnapshotError as error:
        log.warning("previous_index_unreadable", error=str(error))
        return None
