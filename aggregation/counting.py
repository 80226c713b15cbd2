"""Count people for all entries in one pass over the reports. No I/O.

A person's reports are read together and then discarded, so memory grows with the number of cells, not people. Parts of a
week can be counted separately and added if all reports of a person are in the same part.
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
CellValues = tuple[Value, ...] | Value
"""A subset of a cell's values; a single value is not wrapped in a tuple."""

RANKS = {str(level): level.rank for level in TELEMETRY_LEVELS}
_SINCE = {field.name: field.since for field in fields_of(Level.FULL)}
"""Schema version that introduced each field. Older reports are not counted in entries that use it."""
NOT_APPLICABLE: tuple[CellValues, tuple[CellValues, ...]] = ((), ())
_SINGLE_ITEM: frozenset[CellValues] = frozenset({()})
_decode: Callable[[str], Any] = msgspec.json.Decoder(dict[str, Any]).decode
_identifier = itemgetter(0)


class Counts(Struct):
    """Exact numbers of people: only the publication rule may read them.

    ``people``: by entry id and by a cell's values as text, in the order of the entry's dimensions. ``reports``: how many
    reports were read; ``left_out``: how many were damaged; ``newer``: how many have an unknown schema version.
    """

    people: dict[str, dict[tuple[str, ...], int]]
    reports: int = 0
    left_out: int = 0
    newer: int = 0

    def add(self, other: Self) -> None:
        """Add the counts of another part, which has other people."""
        for entry, cells in other.people.items():
            mine = self.people.setdefault(entry, {})
            for values, number in cells.items():
                mine[values] = mine.get(values, 0) + number
        self.reports += other.reports
        self.left_out += other.left_out
        self.newer += other.newer


class Counting:
    """Counts rows for all entries. Raises ValueError for an entry that explodes more than one field."""

    def __init__(self, catalogue: Sequence[Entry]) -> None:
        self._layouts = list(dict.fromkeys(_exploded_dimensions(entry) for entry in catalogue))
        self._item_readers = [_items_of(layout) for layout in self._layouts]
        self._readers = [_EntryReader(entry, self._layouts) for entry in catalogue]
        self._people: list[defaultdict[CellValues, Counter[CellValues]]] = [defaultdict(Counter) for _ in catalogue]
        self._reports = self._left_out = self._newer = 0

    def add(self, rows: Iterable[RawRow]) -> None:
        """Count reports. All reports of a person must be consecutive and in the same call."""
        for _, reports in groupby(rows, _identifier):
            of_person = [cells for report in reports if (cells := self._cells_of(report)) is not None]
            if len(of_person) == 1:
                for counters, (key, items) in zip(self._people, of_person[0], strict=True):
                    if items:
                        counters[key].update(items)
                continue
            for counters, *cells in zip(self._people, *of_person, strict=False):
                together: dict[CellValues, set[CellValues]] = defaultdict(set)
                for key, items in cells:
                    together[key].update(items)
                for key, all_items in together.items():
                    counters[key].update(all_items)

    def counts(self) -> Counts:
        """Return the counts so far."""
        people = {
            plan.entry: {
                plan.values(key, item): number for key, counter in counters.items() for item, number in counter.items()
            }
            for plan, counters in zip(self._readers, self._people, strict=True)
        }
        return Counts(people, self._reports, self._left_out, self._newer)

    def _cells_of(self, row: RawRow) -> list[tuple[CellValues, Iterable[CellValues] | Any]] | None:
        """Return each entry's cells as (shared values, item values), or None if the report is unreadable."""
        self._reports += 1
        *_, level, schema_version, text = row
        if schema_version not in KNOWN_SCHEMA_VERSIONS:
            self._newer += 1
            return None
        try:
            report = _decode(text)
            report[LEVEL_COLUMN] = level
            rank = RANKS[level]  # skip entries above this level: it must not send their fields
            items = [read_items(report) for read_items in self._item_readers]
            cells = [
                (plan.key(report), items[plan.layout] if plan.applies is None or report[plan.applies] is True else ())
                if plan.rank <= rank and plan.since <= schema_version
                else NOT_APPLICABLE
                for plan in self._readers
            ]
            hash(tuple([key for key, _ in cells]))  # raises TypeError if a value is not a string but a list
            return cells
        except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
            self._left_out += 1
            return None


class _EntryReader:
    """Reads one entry's cells from a report: the values that all cells share, and those of each item."""

    def __init__(self, entry: Entry, layouts: list[tuple[Dimension, ...]]) -> None:
        mine = _exploded_dimensions(entry)
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
        values = [*((key,) if self._single_key else key), *((item,) if self._single_item else item)]
        return tuple([str(values[place]) for place in self._order])


def _exploded_dimensions(entry: Entry) -> tuple[Dimension, ...]:
    """Return the dimensions that come from the items of a list or mapping."""
    mine = tuple(dimension for dimension in entry.dimensions if dimension.part is not None)
    if len({dimension.field for dimension in mine}) > 1:
        raise ValueError(f"entry {entry.id} explodes more than one field")
    return mine


def _items_of(layout: tuple[Dimension, ...]) -> Callable[[dict[str, Any]], Any]:
    """Return a function that reads the distinct items of a field."""
    if not layout:
        return lambda _: _SINGLE_ITEM
    field, parts = layout[0].field, [dimension.part for dimension in layout]
    if parts == ["@key", "@value"]:
        return lambda report: set(report[field].items()) if field in report else ()
    if parts == ["@key"]:
        return lambda report: set(report.get(field, ()))
    of_item = _getter([str(part) for part in parts])
    return lambda report: set(map(of_item, report.get(field, ())))


def _getter(names: list[str]) -> Callable[[dict[str, Any]], Any]:
    """Return an itemgetter for any number of names."""
    return itemgetter(*names) if names else lambda _: ()
