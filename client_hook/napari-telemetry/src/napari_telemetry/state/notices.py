"""Which updates were told by a notification, and whether a person wants to be told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta

from napari_telemetry.state.database import StateFile
from napari_telemetry.state.texts import instant_of, text_of

AT_MOST_EVERY = timedelta(days=1)
_WANTED = "notify"


class Notices:
    """The notifications of an environment. Each method is one transaction."""

    def __init__(self, own: StateFile) -> None:
        self._own = own

    def claim(self, updates: Iterable[tuple[str, str]], now: datetime) -> bool:
        """Tell whether these (name, version) may be told at ``now``, and remember that they are.

        Of several processes, one alone gets True. They are told where one of them is new, and at most once a day. Raises
        StateError.
        """
        digests = {hashlib.sha256(f"{name} {version}".encode()).hexdigest() for name, version in updates}
        with self._own.read() as known:
            if known is not None and not _may_be_told(known.execute(_SELECT).fetchall(), digests, now):
                return False
        with self._own.change() as own:
            if not _may_be_told(own.execute(_SELECT).fetchall(), digests, now):
                return False
            own.executemany("INSERT OR REPLACE INTO notices VALUES (?, ?)", [(digest, text_of(now)) for digest in digests])
        return True

    def wanted(self) -> bool:
        """Whether updates shall be told by a notification; yes where nobody chose. Raises StateError."""
        with self._own.read() as own:
            row = own and own.execute("SELECT value FROM preferences WHERE name = ?", (_WANTED,)).fetchone()
            return not row or row[0] != "no"

    def want(self, wanted: bool) -> None:
        """Remember whether updates shall be told by a notification. Raises StateError."""
        with self._own.change() as own:
            own.execute("INSERT OR REPLACE INTO preferences VALUES (?, ?)", (_WANTED, "yes" if wanted else "no"))


_SELECT = "SELECT updates, at FROM notices"


def _may_be_told(told: list[tuple[str, str]], digests: set[str], now: datetime) -> bool:
    is_new = bool(digests - {known for known, _ in told})
    return is_new and not any(instant_of(at) <= now < instant_of(at) + AT_MOST_EVERY for _, at in told)
