"""What servers answered, kept for offline use, and until when they are not asked again."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from msgspec import Struct

from napari_telemetry.pacing import Pause, holds
from napari_telemetry.state.database import StateFile
from napari_telemetry.state.texts import instant_of, text_of


class CachedAnswer(Struct, frozen=True):
    """An answer of a server as it was received."""

    fetched_at: datetime
    body: bytes

    @property
    def etag(self) -> str:
        """What the server's ETag for this body must be, computed here: what a server handed out could be a cookie."""
        return hashlib.sha256(self.body).hexdigest()[:32]


class Answers:
    """The cache of answers to ``GET``, and the pauses."""

    def __init__(self, own: StateFile) -> None:
        self._own = own

    def cached(self, url: str) -> CachedAnswer | None:
        """Return the last answer to a GET of ``url``."""
        with self._own.read() as own:
            row = own and own.execute("SELECT fetched_at, body FROM answers WHERE url = ?", (url,)).fetchone()
            return CachedAnswer(instant_of(row[0]), row[1]) if row else None

    def keep(self, url: str, answer: CachedAnswer) -> None:
        """Keep an answer for later checks and for offline use, instead of one to the same URL with another query."""
        path = url.partition("?")[0]
        with self._own.change() as own:
            own.execute("DELETE FROM answers WHERE url = ? OR substr(url, 1, ?) = ?", (path, len(path) + 1, f"{path}?"))
            own.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (url, text_of(answer.fetched_at), answer.body))

    def pause(self, name: str) -> Pause | None:
        """Return the pause of that name, over or not."""
        with self._own.read() as own:
            row = own and own.execute(_SELECT, (name,)).fetchone()
            return _pause(row) if row else None

    def set_pause(self, name: str, pause: Pause) -> None:
        """Replace the pause of that name."""
        with self._own.change() as own:
            own.execute(_REPLACE, _row(name, pause))

    def claim(self, name: str, now: datetime, lease: timedelta) -> bool:
        """Tell whether nobody pauses, and if so pause for ``lease``: of several processes, one alone gets True."""
        with self._own.change() as own:
            row = own.execute(_SELECT, (name,)).fetchone()
            pause = _pause(row) if row else None
            if holds(pause, now):
                return False
            failures = pause.failures if pause else 0
            own.execute(_REPLACE, _row(name, Pause(now, now + lease, failures, reason="another check is under way")))
        return True


_SELECT = "SELECT set_at, not_before, failures, is_directed, reason FROM pauses WHERE name = ?"
_REPLACE = "INSERT OR REPLACE INTO pauses VALUES (?, ?, ?, ?, ?, ?)"


def _row(name: str, pause: Pause) -> tuple[str, str, str, int, bool, str | None]:
    return name, text_of(pause.set_at), text_of(pause.not_before), pause.failures, pause.is_directed, pause.reason


def _pause(row: tuple[str, str, int, int, str | None]) -> Pause:
    set_at, not_before, failures, is_directed, reason = row
    return Pause(instant_of(set_at), instant_of(not_before), failures, bool(is_directed), reason)
