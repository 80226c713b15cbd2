"""Tells whether files may have changed, whoever changed them, without opening them.

Opening would be wrong: on POSIX, closing any handle of a file ends every lock that this process has on it, also those that
SQLite holds in another thread (sqlite.org/howtocorrupt.html, 2.2). Another process could then write in between.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

SETTLES_AFTER_S = 2.0
"""The coarsest clock of a file system (FAT): two changes within this time may bear the same one."""

_Mark = tuple[int, int, int]


class Marks:
    """How files looked when they were last taken note of: inode, size and time of change.

    A change that follows another within `SETTLES_AFTER_S` may not show in them; so once that time is over, they may have
    changed once more. No clock of a file system is compared with the one here: they may belong to different computers.
    """

    def __init__(self) -> None:
        self._files: tuple[_Mark | None, ...] | None = None
        self._once_more_at: float | None = None

    def take(self, paths: Iterable[Path]) -> None:
        """Take note of how files look now; they are read after this."""
        files = tuple(_mark(path) for path in paths)
        if files != self._files:
            self._once_more_at = time.monotonic() + SETTLES_AFTER_S
        elif self._is_settled():
            self._once_more_at = None
        self._files = files

    def forget(self) -> None:
        """What was read can't be relied on."""
        self._files = None

    def may_have_changed(self, paths: Iterable[Path]) -> bool:
        """Whether files may be others than when they were last taken note of."""
        return self._files is None or self._files != tuple(_mark(path) for path in paths) or self._is_settled()

    def _is_settled(self) -> bool:
        return self._once_more_at is not None and time.monotonic() >= self._once_more_at


def _mark(path: Path) -> _Mark | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
