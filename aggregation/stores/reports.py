"""A report, and what became of one that was to be stored."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

MOST_ENVIRONMENTS = 8
"""Of one identifier, kept for one week."""

RawRow = tuple[str, str, int, str, int, str]
"""A report of a week as a store holds it: identifier, environment, revision, level, schema version, document as JSON."""


class Report(Struct, frozen=True):
    """One week of one environment. ``document`` holds its fields without those of the key and ``revision``."""

    week: str
    identifier: str
    environment: str
    revision: int
    level: str
    schema_version: int
    document: dict[str, Any]


def report_of(week: str, row: Sequence[Any]) -> Report:
    """Return a report of ``week`` from the values of a `RawRow`."""
    identifier, environment, revision, level, schema_version, document = row
    return Report(week, identifier, environment, revision, level, schema_version, msgspec.json.decode(document))


class Outcome(StrEnum):
    """What became of a report that was to be stored."""

    NEW = "new"
    REPLACED = "replaced"
    REPEATED = "repeated"
    HELD = "held"
    TOO_MANY = "too_many"


class Stored(Struct, frozen=True):
    """What became of a report. ``revision`` is the one that is held now; of one too many, its own."""

    outcome: Outcome
    revision: int

    @property
    def stored(self) -> bool:
        """Whether this very report is held now."""
        return self.outcome in (Outcome.NEW, Outcome.REPLACED, Outcome.REPEATED)

    @property
    def reason(self) -> str | None:
        """Why it was not taken, in a sentence."""
        if self.outcome is Outcome.TOO_MANY:
            return f"there are {MOST_ENVIRONMENTS} environments of this identifier already"
        return None if self.stored else f"revision {self.revision} of this report is held already"
