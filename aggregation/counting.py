"""From reports to counts of people: every entry of the catalogue, in one pass over the reports (pure).

A person's reports come together, so that a person can be counted once in each cell and be forgotten again: memory grows with
the number of cells, not with that of people. For the same reason a week can be counted in parts, by several processes, as long
as each person is in one part: the counts add up.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Self

import msgspec
from msgspec import Struct
from napari_telemetry.wire import SCHEMA_VERSION, TELEMETRY_LEVELS, Level, fields_of

from aggregation.catalogue import LEVEL_COLUMN, Dimension, Entry
from aggregation.stores.reports import RawRow

KNOWN_SCHEMA_VERSIONS = frozenset(range(1, SCHEMA_VERSION + 1))

Value = str | int | bool
Part = tuple[Value, ...] | Value
"""Some of the values of a cell: the value itself where it is one."""

RANKS = {str(level): level.rank for level in TELEMETRY_LEVELS}
_SINCE = {field.name: field.since for field in fields_of(Level.FULL)}
"""The schema version with which each field came: reports of an older one are counted for all other questions."""
NOT_ASKED: tuple[Part, tuple[Part, ...]] = ((), ())
_ONE: frozenset[Part] = frozenset({()})
_decode: Callable[[str], Any] = msgspec.json.Decoder(dict[str, Any]).decode
_identifier = itemgetter(0)


class Counts(Struct):
    """Exact numbers of people, for the publication rule only.

    ``people``: by entry id and by a cell's values as text, in the order of the entry's dimensions. ``reports``: how many were
    read; ``left_out``: damaged ones; ``newer``: those of a schema version that this program does not know.
    """

    people: dict[str, dict[tuple[str, ...], int]]
    reports: int = 0
    left_out: int = 0
    newer: int = 0

    def add(self, other: Self) -> None:
        """Add the counts of other people."""
        for entry, cells in other.people.items():
            mine = self.people.setdefault(entry, {})
            for values, number in cells.items():
                mine[values] = mine.get(values, 0) + number
        self.reports += other.reports
        self.left_out += other.left_out
        self.newer += other.newer


class Counting:
    """Counts people for a catalogue. Raises ValueError for an entry that lays out more than one list."""

    def __init__(self, catalogue: Sequence[Entry]) -> None:
        self._layouts = list(dict.fromkeys(_laid_out(entry) for entry in catalogue))
        self._lay_out = [_items_of(layout) for layout in self._layouts]
        self._plans = [_Plan(entry, self._layouts) for entry in catalogue]
        self._people: list[defaultdict[Part, Counter[Part]]] = [defaultdict(Counter) for _ in catalogue]
        self._reports = self._left_out = self._newer = 0

    def add(self, rows: Iterable[RawRow]) -> None:
        """Count some people. All reports of a person must be in one call, one after the other."""
        for _, reports in groupby(rows, _identifier):
            of_person = [cells for report in reports if (cells := self._cells_of(report)) is not None]
            if len(of_person) == 1:
                for counters, (key, items) in zip(self._people, of_person[0], strict=True):
                    if items:
                        counters[key].update(items)
                continue
            for counters, *cells in zip(self._people, *of_person, strict=False):
                together: dict[Part, set[Part]] = defaultdict(set)
                for key, items in cells:
                    together[key].update(items)
                for key, all_items in together.items():
                    counters[key].update(all_items)

    def counts(self) -> Counts:
        """Return what was counted so far."""
        people = {
            plan.entry: {
                plan.values(key, item): number for key, counter in counters.items() for item, number in counter.items()
            }
            for plan, counters in zip(self._plans, self._people, strict=True)
        }
        return Counts(people, self._reports, self._left_out, self._newer)

    def _cells_of(self, row: RawRow) -> list[tuple[Part, Iterable[Part] | Any]] | None:
        """The cells of each entry that a report belongs to, as what they share and how they differ; None: it can't be read."""
        self._reports += 1
        *_, level, schema_version, text = row
        if schema_version not in KNOWN_SCHEMA_VERSIONS:
            self._newer += 1
            return None
        try:
            report = _decode(text)
            report[LEVEL_COLUMN] = level
            rank = RANKS[level]  # what a level does not send is not counted, should it be there
            items = [lay_out(report) for lay_out in self._lay_out]
            cells = [
                (plan.key(report), items[plan.layout] if plan.applies is None or report[plan.applies] is True else ())
                if plan.rank <= rank and plan.since <= schema_version
                else NOT_ASKED
                for plan in self._plans
            ]
            hash(tuple([key for key, _ in cells]))  # a list where a word should be is damage too
            return cells
        except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
            self._left_out += 1
            return None


class _Plan:
    """How to find the cells of one entry in a report: the values that all its cells share, and those that differ."""

    def __init__(self, entry: Entry, layouts: list[tuple[Dimension, ...]]) -> None:
        mine = _laid_out(entry)
        self.entry = entry.id
        shared = [dimension for dimension in entry.dimensions if dimension not in mine]
        self.layout = layouts.index(mine)
        self.applies = entry.only_where
        self.rank = entry.level.rank
        self.since = max((_SINCE.get(field, 1) for field in entry.fields), default=1)
        self.key: Callable[[dict[str, Any]], Any] = _getter([dimension.field for dimension in shared])
        self._order = [(*shared, *mine).index(dimension) for dimension in entry.dimensions]
        self._single_key, self._single_item = len(shared) == 1, len(mine) == 1

    def values(self, key: Any, item: Any) -> tuple[str, ...]:
        """Return the values of a cell in the order of the entry's dimensions."""
        values = [*((key,) if self._single_key else key), *((item,) if self._single_item else item)]
        return tuple([str(values[place]) for place in self._order])


def _laid_out(entry: Entry) -> tuple[Dimension, ...]:
    """The dimensions of an entry that are in the items of a list or of a mapping."""
    mine = tuple(dimension for dimension in entry.dimensions if dimension.part is not None)
    if len({dimension.field for dimension in mine}) > 1:
        raise ValueError(f"entry {entry.id} lays out more than one field")
    return mine


def _items_of(layout: tuple[Dimension, ...]) -> Callable[[dict[str, Any]], Any]:
    """Return what finds the different items of a field in a report, by these dimensions; none where it is not sent."""
    if not layout:
        return lambda _: _ONE
    field, parts = layout[0].field, [dimension.part for dimension in layout]
    if parts == ["@key", "@value"]:
        return lambda report: set(report[field].items()) if field in report else ()
    if parts == ["@key"]:
        return lambda report: set(report.get(field, ()))
    of_item = _getter([str(part) for part in parts])
    return lambda report: set(map(of_item, report.get(field, ())))


def _getter(names: list[str]) -> Callable[[dict[str, Any]], Any]:
    """Return what takes these from a mapping: one as it is, several as a tuple."""
    return itemgetter(*names) if names else lambda _: ()
