"""A report on its way into the raw store, and what became of it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

MOST_ENVIRONMENTS = 8
"""Of one identifier, kept for one week."""


class NewReport(Struct, frozen=True):
    """A report to be stored. ``document`` holds its fields without those of the key and ``revision``."""

    week: str
    identifier: str
    environment: str
    revision: int
    level: str
    schema_version: int
    document: dict[str, Any]


class Stored(Struct, frozen=True):
    """What became of a report: ``revision`` is the one that is held now, ``reason`` why this one was not taken.

    ``is_new``: whether there was none of this environment in this week before, None where it was held already.
    """

    stored: bool
    revision: int
    reason: str | None = None
    is_new: bool | None = None


def too_many_environments(revision: int) -> Stored:
    """Return the outcome of a report that would be one environment too many."""
    return Stored(False, revision, f"there are {MOST_ENVIRONMENTS} environments of this identifier already")


def held_already(revision: int) -> Stored:
    """Return the outcome of a report of which this revision, or another content of the same, is held."""
    return Stored(False, revision, f"revision {revision} of this report is held already")
