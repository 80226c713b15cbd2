"""The weeks that are collected: what is known of each, what was counted, and whether a server has it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec import Struct

from napari_telemetry.facts import Facts, decoded_facts, encoded_facts
from napari_telemetry.layers import LayerKind
from napari_telemetry.state.consents import consent_number, latest_consent
from napari_telemetry.state.database import StateFile
from napari_telemetry.weeks import closes_at
from napari_telemetry.wire import Level

MOST_KINDS = 20_000
"""Different commands and kinds of layers that are counted in a week; a report holds fewer."""


class Draft(Struct, frozen=True):
    """A week of this environment as it is now.

    ``level``: what was collected, at most. ``changed`` counts its changes, ``covered`` is the change up to which a server took
    it. ``refused``: why a server did not take it.
    """

    service: str
    week: str
    level: Level
    facts: Facts
    changed: int
    covered: int
    refused: str | None

    @property
    def is_unsent(self) -> bool:
        """Whether there is something that the server does not have."""
        return self.changed > self.covered


class Counts(Struct, frozen=True):
    """What was counted in a week, exactly: it is rounded down when a report is made."""

    commands: Mapping[str, int] = {}
    layers: Mapping[LayerKind, int] = {}


class Drafts:
    """Drafts and counts. Each method is one transaction."""

    def __init__(self, own: StateFile) -> None:
        self._own = own

    def epoch(self) -> int:
        """Return a number that changes with every answer about consent: events of another epoch are not counted."""
        with self._own.read() as own:
            return consent_number(own) if own else 0

    def note(self, service: str, week: str, level: Level, facts: Facts) -> None:
        """Write down how the environment looks in ``week``, unless the consent for that was withdrawn meanwhile."""
        with self._own.read() as known:
            row = known and known.execute(_SELECT + " WHERE service = ? AND week = ?", (service, week)).fetchone()
            if row and (draft := _draft(row)).facts == facts and draft.level is level:
                return
        with self._own.change() as own:
            if _allows(own, service, level):
                _note(own, service, week, level, facts)

    def add(self, service: str, epoch: int, facts: Facts, counted: Mapping[str, Counts]) -> bool:
        """Add what was counted, by week. False, and nothing is added, where another answer was given since ``epoch``."""
        with self._own.change() as own:
            if consent_number(own) != epoch or not _allows(own, service, Level.FULL):
                return False
            for week, counts in counted.items():
                _note(own, service, week, Level.FULL, facts)
                own.execute("UPDATE drafts SET changed = changed + 1 WHERE service = ? AND week = ?", (service, week))
                _count(own, week, counts)
        return True

    def all(self) -> list[Draft]:
        """Return every draft, the oldest week first."""
        with self._own.read() as own:
            rows = own.execute(_SELECT + " ORDER BY week").fetchall() if own else []
            return [_draft(row) for row in rows]

    def counts(self, week: str) -> Counts:
        """Return what was counted in a week."""
        with self._own.read() as own:
            rows = own.execute("SELECT kind, key, count FROM counts WHERE week = ?", (week,)).fetchall() if own else []
            return Counts(
                {key: count for kind, key, count in rows if kind == "command"},
                {msgspec.json.decode(key, type=LayerKind): count for kind, key, count in rows if kind == "layer"},
            )

    def cover(self, service: str, week: str, changed: int) -> None:
        """Note that a server took a week as it was at change ``changed``."""
        with self._own.change() as own:
            own.execute(
                "UPDATE drafts SET covered = max(covered, ?), refused = NULL WHERE service = ? AND week = ?",
                (changed, service, week),
            )

    def refuse(self, service: str, week: str, reason: str) -> None:
        """Note that a server did not take a week, and why. It is kept."""
        with self._own.change() as own:
            own.execute("UPDATE drafts SET refused = ? WHERE service = ? AND week = ?", (reason, service, week))

    def drop_closed(self, now: datetime) -> list[str]:
        """Remove the weeks that no server takes any more, and return them."""
        closed = [draft.week for draft in self.all() if closes_at(draft.week) <= now]
        if closed:
            self.drop(closed)
        return closed

    def drop(self, weeks: list[str]) -> None:
        """Remove drafts and counts of ``weeks``."""
        with self._own.change() as own:
            for week in weeks:
                own.execute("DELETE FROM drafts WHERE week = ?", (week,))
                own.execute("DELETE FROM counts WHERE week = ?", (week,))


_SELECT = "SELECT service, week, level, facts, changed, covered, refused FROM drafts"


def _draft(row: tuple[str, str, str, bytes, int, int, str | None]) -> Draft:
    service, week, level, facts, changed, covered, refused = row
    return Draft(service, week, Level(level), decoded_facts(facts), changed, covered, refused)


def _allows(own: sqlite3.Connection, service: str, level: Level) -> bool:
    consent = latest_consent(own)
    return consent is not None and consent.service == service and consent.level.includes(level)


def _note(own: sqlite3.Connection, service: str, week: str, level: Level, facts: Facts) -> None:
    own.execute(
        """
        INSERT INTO drafts VALUES (?, ?, ?, ?, 1, 0, NULL)
        ON CONFLICT (service, week) DO UPDATE SET
            level = excluded.level, facts = excluded.facts, changed = changed + 1, refused = NULL
        WHERE level <> excluded.level OR facts <> excluded.facts
        """,
        (service, week, level.value, encoded_facts(facts)),
    )


def _count(own: sqlite3.Connection, week: str, counts: Counts) -> None:
    (kinds,) = own.execute("SELECT count(*) FROM counts WHERE week = ?", (week,)).fetchone()
    rows = [("command", key, count) for key, count in counts.commands.items()]
    rows += [("layer", msgspec.json.encode(kind).decode(), count) for kind, count in counts.layers.items()]
    for kind, key, count in rows:
        known = own.execute(
            "UPDATE counts SET count = count + ? WHERE week = ? AND kind = ? AND key = ?", (count, week, kind, key)
        ).rowcount
        if not known and kinds < MOST_KINDS:
            own.execute("INSERT INTO counts VALUES (?, ?, ?, ?)", (week, kind, key, count))
            kinds += 1
