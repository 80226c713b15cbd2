"""What somebody can find out who has all public numbers: the least and greatest value that each hidden cell may have.

An integer program over everything that the attacker does not know. A table is a group of people (all of napari's, or those
who have a plugin) and its rows; a person of the group is in one row at least, and in several where they have several
environments. HiGHS solves it, through scipy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

Interval = tuple[float, float]
MOST_ENVIRONMENTS = 8


@dataclass(frozen=True)
class Rule:
    """How numbers are published. ``listed_from``: the least that is; ``rounded_to``: a multiple of it, downwards; 1 is exact.

    ``each_once``: whether everybody is in exactly one row, as where environments are counted instead of people. ``lowers``:
    whether the largest of rows that add up to the total is published a step lower.
    """

    listed_from: int
    rounded_to: int
    each_once: bool = False
    lowers: bool = False

    def published(self, count: int) -> int | None:
        """Return what is seen of a number, None where it is hidden."""
        return count - count % self.rounded_to if count >= self.listed_from else None

    def possible(self, seen: int | None) -> Interval:
        """Return what a number may be, by what is seen of it."""
        return (0, self.listed_from - 1) if seen is None else (seen, seen + self.rounded_to - 1)


@dataclass
class Group:
    """A group of people and the tables that tell them apart. ``total`` and rows: what is seen, None where hidden.

    ``partial``: tables in which not everybody of the group needs to be, such as the commands that people used.
    """

    total: int | None
    tables: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    partial: frozenset[str] = frozenset()


def seen_by_everybody(
    total: int, tables: Mapping[str, Mapping[str, int]], rule: Rule, partial: frozenset[str] = frozenset()
) -> Group:
    """Return what is published of true counts."""
    seen = {name: {row: rule.published(count) for row, count in rows.items()} for name, rows in tables.items()}
    for name, rows in seen.items():
        listed = {row: number for row, number in rows.items() if number is not None}
        if rule.lowers and name not in partial and listed and sum(listed.values()) == rule.published(total):
            largest = min(listed, key=lambda row: (-listed[row], row))
            lowered = listed[largest] - rule.rounded_to
            rows[largest] = lowered if lowered >= rule.listed_from else None
    return Group(rule.published(total), seen, partial)


class Attack:
    """Everything that is known of some groups. ``within``: groups, by number, whose people all belong to another group."""

    def __init__(self, groups: Sequence[Group], rule: Rule, within: Mapping[int, int] | None = None) -> None:
        self._bounds: list[Interval] = []
        self._rows: list[tuple[dict[int, float], Interval]] = []
        self._cells: dict[tuple[int, str, str], int] = {}
        people: list[int] = []
        for number, group in enumerate(groups):
            total = self._unknown(rule.possible(group.total))
            people.append(total)
            for name, rows in group.tables.items():
                cells = [self._unknown(rule.possible(seen)) for seen in rows.values()]
                self._cells |= {(number, name, row): cell for row, cell in zip(rows, cells, strict=True)}
                whole = dict.fromkeys(cells, 1.0)
                if rule.lowers and name not in group.partial and group.total is not None:
                    self._one_may_be_lowered(rule, group.total, rows, cells)
                if rule.each_once and name not in group.partial:
                    self._rows.append((whole | {total: -1.0}, (0, 0)))
                    continue
                if name not in group.partial:
                    self._rows.append((whole | {total: -1.0}, (0, np.inf)))  # everybody is somewhere
                    self._rows.append((whole | {total: -float(MOST_ENVIRONMENTS)}, (-np.inf, 0)))
                for cell in cells:
                    self._rows.append(({cell: 1.0, total: -1.0}, (-np.inf, 0)))  # nobody is in a row twice
        for inner, outer in (within or {}).items():
            self._rows.append(({people[inner]: 1.0, people[outer]: -1.0}, (-np.inf, 0)))

    def also(self, coefficients: Mapping[tuple[int, str, str], float], interval: Interval) -> None:
        """Add something else that the attacker knows of a sum of cells."""
        self._rows.append(({self._cells[cell]: factor for cell, factor in coefficients.items()}, interval))

    def range_of(self, group: int, table: str, row: str) -> tuple[int, int]:
        """Return the least and the greatest that a cell can be."""
        cell = self._cells[group, table, row]
        return round(self._extreme(cell, 1)), round(self._extreme(cell, -1))

    def _one_may_be_lowered(self, rule: Rule, total: int, rows: Mapping[str, int | None], cells: Sequence[int]) -> None:
        """Let one row have been a step larger, where then the rows would add up to the total and it would be the largest."""
        step, seen = rule.rounded_to, list(rows.values())
        listed = [number for number in seen if number is not None]
        missing, switches = total - sum(listed), {}
        for number, cell in zip(seen, cells, strict=True):
            was = missing if number is None else number + step
            if was != (rule.listed_from if number is None else number + missing) or was < max(listed, default=0):
                continue
            low, high = self._bounds[cell]
            switch = self._unknown((0, 1))
            switches[switch] = 1.0
            self._bounds[cell] = (low, was + step - 1)
            self._rows.append(({cell: 1.0, switch: float(low - was)}, (low, np.inf)))
            self._rows.append(({cell: 1.0, switch: float(high - (was + step - 1))}, (-np.inf, high)))
        if switches:
            self._rows.append((switches, (0, 1)))

    def _unknown(self, interval: Interval) -> int:
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
