"""When the question about telemetry is put, and what has changed since it was last answered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum

from msgspec import Struct

from napari_telemetry.decision import ConsentRecord, has_ended
from napari_telemetry.settings import ClientSettings
from napari_telemetry.switches import telemetry_switched_off
from napari_telemetry.wire import SCHEMA_VERSION, TELEMETRY_LEVELS, Level, WireField, fields_of

MOST_ASKINGS = 3
ASK_AGAIN_AFTER = timedelta(days=30)


MEANING = {
    Level.NONE: "Nothing is sent. Updates are checked all the same.",
    Level.BASIC: "Versions of napari and Python, and which system they run on.",
    Level.MIDDLE: "Basic, and which plugins of the public index are installed, with their versions.",
    Level.FULL: "Middle, and which commands of napari and public plugins were used, and what kinds of layers were opened, "
    "roughly how often. No names, no paths, no pixels.",
}
"""What each level means, in a sentence."""


class Why(str, Enum):
    """What the question is put for."""

    FIRST = "nobody has answered yet"
    ENDED = "the consent was for a time, which is over"
    GROWN = "this version collects more than the person agreed to"
    ELSEWHERE = "the consent was for another server"


class Change(Struct, frozen=True):
    """A field that is collected now and was not when consent was given. ``level``: the lowest that sends it."""

    level: Level
    name: str
    type: str
    description: str

    @property
    def sentence(self) -> str:
        """The change in words."""
        return f"Level {self.level} now also sends {self.name}: {self.description} ({self.type})."


class Question(Struct, frozen=True):
    """A question that is due. ``before``: the answer that no longer holds; ``changes``: what is collected since."""

    why: Why
    before: ConsentRecord | None = None
    changes: list[Change] = []


def due_question(
    record: ConsentRecord | None, askings: Sequence[datetime], settings: ClientSettings, now: datetime
) -> Question | None:
    """Return the question that is to be put at ``now``, or None.

    It is put once, after 30 days again where nobody answered, three times in all; then never, until there is another
    reason. The answer none is an answer, and holds. Where a switch is off, nobody is asked.

    ``askings``: when it was put so far, in order.
    """
    unanswered = _unanswered(record, askings)
    if unanswered and unanswered[-1] <= now < unanswered[-1] + ASK_AGAIN_AFTER:
        return None
    return open_question(record, askings, settings, now)


def open_question(
    record: ConsentRecord | None, askings: Sequence[datetime], settings: ClientSettings, now: datetime
) -> Question | None:
    """Return the question that waits for an answer, put already or not; None where it was put often enough."""
    if telemetry_switched_off(settings.environ, settings.site) or settings.site.maximum_level is Level.NONE:
        return None
    if len(_unanswered(record, askings)) >= MOST_ASKINGS:
        return None
    return _reason_to_ask(record, settings, now)


def _unanswered(record: ConsentRecord | None, askings: Sequence[datetime]) -> list[datetime]:
    return [at for at in askings if record is None or at > record.at]


def _reason_to_ask(record: ConsentRecord | None, settings: ClientSettings, now: datetime) -> Question | None:
    if record is None:
        return Question(Why.FIRST)
    if record.level is Level.NONE:
        return None
    if record.service != settings.service:
        return Question(Why.ELSEWHERE, record, changes_since(record.schema_version))
    if has_ended(record, now):
        return Question(Why.ENDED, record, changes_since(record.schema_version))
    if record.schema_version < SCHEMA_VERSION:
        return Question(Why.GROWN, record, changes_since(record.schema_version))
    return None


def changes_since(schema_version: int, fields: Mapping[Level, Iterable[WireField]] | None = None) -> list[Change]:
    """Return what is collected today and was not at ``schema_version``, by level. ``fields``: default are those of today."""
    known = fields or {level: fields_of(level) for level in TELEMETRY_LEVELS}
    changes: dict[str, Change] = {}
    for level, described in known.items():
        for field in described:
            if field.since > schema_version:
                changes.setdefault(field.name, Change(level, field.name, field.type, field.description))
    return list(changes.values())
