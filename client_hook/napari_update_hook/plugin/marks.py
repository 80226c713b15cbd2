"""Tells whether files may have changed, whoever changed them, without opening them.

Opening would be wrong: on POSIX, closing any handle of a file ends every lock that this process has on it, also those that
SQLite holds in another thread (sqlite.org/howtocorrupt.html, 2.2). Another process could then write in between.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SETTLES_AFTER_NS = 2_000_000_000
"""The coarsest clock of a file system (FAT): two changes within this time may bear the same one."""


@dataclass(frozen=True)
class Marks:
    """How files looked: inode, size and time of change in nanoseconds, None where there is none.

    ``is_settled``: the next change will show. It may not, where the last one happened just now.
    """

    files: tuple[tuple[int, int, int] | None, ...]
    is_settled: bool

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Marks:
        """Look at files now."""
        now = time.time_ns()
        files = tuple(_mark(path) for path in paths)
        return cls(files, all(mark is None or abs(now - mark[2]) > SETTLES_AFTER_NS for mark in files))

    def may_differ(self, later: Marks) -> bool:
        """Whether something may have changed between these marks and ``later`` ones of the same files."""
        return not self.is_settled or self.files != later.files


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
