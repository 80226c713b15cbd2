"""A raw report, and the result of storing it."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct

MAX_ENVIRONMENTS = 8
"""Maximum number of environments per identifier and week."""

RawRow = tuple[str, str, int, str, int, str]
"""A stored report: identifier, environment, revision, level, schema version, document as JSON."""


class Report(Struct, frozen=True):
    """A raw report. ``document``: the fields without a column of their own."""

    week: str
    identifier: str
    environment: str
    revision: int
    level: str
    schema_version: int
    document: dict[str, Any]


def report_of(week: str, row: Sequence[Any]) -> Report:
    """Return the report in a row of the raw store."""
    identifier, environment, revision, level, schema_version, document = row
    return Report(week, identifier, environment, revision, level, schema_version, msgspec.json.decode(document))


class Outcome(StrEnum):
    """What happened to a report. ``held``: a newer or different revision is already stored."""

    NEW = "new"
    REPLACED = "replaced"
    REPEATED = "repeated"
    HELD = "held"
    TOO_MANY = "too_many"


class StoreResult(Struct, frozen=True):
    """The result of storing a report. ``revision``: the stored one; for ``too_many``, the report's own."""

    outcome: Outcome
    revision: int

    @property
    def stored(self) -> bool:
        """Return whether exactly this report is stored now."""
        return self.outcome in (Outcome.NEW, Outcome.REPLACED, Outcome.REPEATED)

    @property
    def reason(self) -> str | None:
        """Return why the report was rejected, or None."""
        if self.outcome is Outcome.TOO_MANY:
            return f"this identifier already has {MAX_ENVIRONMENTS} environments"
        return None if self.stored else f"revision {self.revision} of this report is already stored"
