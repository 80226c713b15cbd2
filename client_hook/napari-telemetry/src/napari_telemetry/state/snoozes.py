"""Updates that a person does not want to hear of, for a while or for ever."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from packaging.version import InvalidVersion, Version

from napari_telemetry.state.database import StateFile
from napari_telemetry.state.texts import instant_of, text_of

EVERY_VERSION = "*"


class Snooze(Struct, frozen=True):
    """A package (normalized name) and a version of it, or `EVERY_VERSION`. ``until``: None means for ever."""

    name: str
    version: str
    until: datetime | None = None

    def covers(self, name: str, version: str | None, now: datetime) -> bool:
        """Tell whether an update to ``version`` of ``name`` shall not be told at ``now``."""
        is_meant = self.name == name and (self.version == EVERY_VERSION or _same(self.version, version))
        return is_meant and (self.until is None or now < self.until)


def _same(one: str, other: str | None) -> bool:
    """Whether two texts are one version: 0.5 is 0.5.0 (PEP 440)."""
    try:
        return other is not None and Version(one) == Version(other)
    except InvalidVersion:
        return one == other


class Snoozes:
    """The snoozed updates of an environment."""

    def __init__(self, own: StateFile) -> None:
        self._own = own

    def all(self) -> list[Snooze]:
        """Return every snooze, over or not, by name."""
        with self._own.read() as own:
            rows = own.execute("SELECT name, version, until FROM snoozes ORDER BY name, version").fetchall() if own else []
            return [Snooze(name, version, instant_of(until) if until else None) for name, version, until in rows]

    def add(self, snooze: Snooze) -> None:
        """Snooze a version; again means from now on."""
        until = text_of(snooze.until) if snooze.until else None
        with self._own.change() as own:
            own.execute("INSERT OR REPLACE INTO snoozes VALUES (?, ?, ?)", (snooze.name, snooze.version, until))

    def remove(self, name: str) -> int:
        """Hear of a package again; return how many snoozes that ended."""
        with self._own.change() as own:
            return own.execute("DELETE FROM snoozes WHERE name = ?", (name,)).rowcount
