"""Attack the published numbers: compute the range of values that each cell can have.

The attack is an integer linear program, solved with HiGHS through SciPy. A group is a set of people (all napari users, or
the users of a plugin); each of its tables splits it into rows. Each person is in at least one row; people with several
environments may be in more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

Interval = tuple[float, float]
Sums = tuple[Collection[int], int]
NO_SUMS: Sums = ((), 0)
MAX_ENVIRONMENTS = 8


@dataclass(frozen=True)
class Rule:
    """A publication rule.

    ``listed_from``: the smallest published number. ``rounded_to``: numbers are rounded down to a multiple of this.

    ``each_once``: assume that each member is in exactly one row, as if environments were counted instead of people.
    ``lowers_totals``: a total one step above the sum of its rows is lowered to that sum.
    """

    listed_from: int
    rounded_to: int
    each_once: bool = False
    lowers_totals: bool = False

    def published(self, count: int) -> int | None:
        """Return the published number, or None if it is hidden."""
        return count - count % self.rounded_to if count >= self.listed_from else None

    def published_total(self, count: int, sums: Sums) -> int | None:
        """Return the published total, or None if it is hidden.

        ``sums``: sums of the visible rows of each table, and of the rows by version.
        """
        number, (of_tables, of_versions) = self.published(count), sums
        known = {of_versions, max((one for one in of_tables if one <= count), default=0)}
        while self.lowers_totals and number is not None and number - self.rounded_to in known:
            number -= self.rounded_to
        return number

    def possible(self, seen: int | None, sums: Sums = NO_SUMS) -> Interval:
        """Return the range of true counts behind a published value. ``sums``: given if the value is a total."""
        if seen is None:
            return 0, self.listed_from - 1
        counts = [count for count in range(seen, seen + 5 * self.rounded_to) if self.published_total(count, sums) == seen]
        return min(counts), max(counts)


@dataclass
class Group:
    """The published values of a group; None if hidden. ``partial``: tables where some people have no row.

    ``sums``: see `Rule.published_total`. ``free``: rows that are never published, whatever their count.
    """

    total: int | None
    tables: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    partial: frozenset[str] = frozenset()
    sums: Sums = NO_SUMS
    free: frozenset[tuple[str, str]] = frozenset()


def published_view(total: int, tables: Mapping[str, Mapping[str, int]], rule: Rule) -> Group:
    seen = {name: {row: rule.published(count) for row, count in rows.items()} for name, rows in tables.items()}
    sums = frozenset(sum(number or 0 for number in rows.values()) for rows in seen.values()), 0
    return Group(rule.published_total(total, sums), seen, sums=sums)


class Attack:
    """Compute what the published numbers reveal.

    ``within``: maps the index of a group to the index of a group that contains it.
    """

    def __init__(self, groups: Sequence[Group], rule: Rule, within: Mapping[int, int] | None = None) -> None:
        self._bounds: list[Interval] = []
        self._rows: list[tuple[dict[int, float], Interval]] = []
        self._cells: dict[tuple[int, str, str], int] = {}
        people: list[int] = []
        for number, group in enumerate(groups):
            total = self._cells[number, "", ""] = self._add_variable(rule.possible(group.total, group.sums))
            people.append(total)
            for name, rows in group.tables.items():
                cells = [self._add_variable(self._possible_range(group, name, row, rule)) for row in rows]
                self._cells |= {(number, name, row): cell for row, cell in zip(rows, cells, strict=True)}
                whole = dict.fromkeys(cells, 1.0)
                if rule.each_once and name not in group.partial:
                    self._rows.append((whole | {total: -1.0}, (0, 0)))
                    continue
                if name not in group.partial:
                    self._rows.append((whole | {total: -1.0}, (0, np.inf)))
                    self._rows.append((whole | {total: -float(MAX_ENVIRONMENTS)}, (-np.inf, 0)))
                for cell in cells:
                    self._rows.append(({cell: 1.0, total: -1.0}, (-np.inf, 0)))
        for inner, outer in (within or {}).items():
            self._rows.append(({people[inner]: 1.0, people[outer]: -1.0}, (-np.inf, 0)))

    def add_known_sum(self, coefficients: Mapping[tuple[int, str, str], float], interval: Interval) -> None:
        """Add a known sum of cells. A group's total has an empty table and row."""
        self._rows.append(({self._cells[cell]: factor for cell, factor in coefficients.items()}, interval))

    def range_of(self, group: int, table: str, row: str) -> tuple[int, int]:
        """Return the minimum and maximum of a cell."""
        cell = self._cells[group, table, row]
        return round(self._extreme(cell, 1)), round(self._extreme(cell, -1))

    @staticmethod
    def _possible_range(group: Group, table: str, row: str, rule: Rule) -> Interval:
        seen = group.tables[table][row]
        if (table, row) in group.free:
            return 0, np.inf
        if rule.lowers_totals and seen is not None and seen == group.total and table not in group.partial:
            return rule.possible(seen, group.sums)  # no row exceeds its total
        return rule.possible(seen)

    def _add_variable(self, interval: Interval) -> int:
        self._bounds.append(interval)
        return len(self._bounds) - 1

    def _extreme(self, cell: int, sign: int) -> float:
        count = len(self._bounds)
        matrix = np.zeros((len(self._rows), count))
        for place, (coefficients, _) in enumerate(self._rows):
            for variable, factor in coefficients.items():
                matrix[place, variable] = factor
        objective = np.zeros(count)
        objective[cell] = sign
        constraints: Any = LinearConstraint(matrix, [one[1][0] for one in self._rows], [one[1][1] for one in self._rows])
        found = milp(
            objective,
            constraints=constraints,
            bounds=Bounds([low for low, _ in self._bounds], [high for _, high in self._bounds]),
            integrality=np.ones(count),
        )
        assert found.success, found.message
        return float(found.x[cell])
