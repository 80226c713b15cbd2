"""Compute the expected public numbers in the simplest possible way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.simulation.model import Key
from tests.support.rule import public

Cells = Iterable[tuple[Any, ...]]


def _plugins(report: dict[str, Any], *more: str) -> Cells:
    return [(name, *(report[one] for one in more)) for name in report.get("plugins", ())]


def _layers(report: dict[str, Any], *places: Callable[[Any], Any]) -> Cells:
    return [(kind[0], *(place(kind) for place in places)) for kind in report.get("layers", ())]


CELLS: dict[str, Callable[[str, dict[str, Any]], Cells]] = {
    "people": lambda _, report: [()],
    "people-by-level": lambda level, report: [(level,)],
    "people-by-napari": lambda _, report: [(report["napari"],)],
    "people-by-python": lambda _, report: [(report["python"],)],
    "people-by-platform": lambda _, report: [(report["platform"], report["architecture"])],
    "people-by-system": lambda _, report: [(report["system"],)],
    "people-by-channel": lambda _, report: [(report["channel"],)] if "channel" in report else [],
    "new-people": lambda _, report: [()] if report["first"] else [],
    "plugins": lambda _, report: _plugins(report),
    "plugins-by-version": lambda _, report: list(report.get("plugins", {}).items()),
    "plugins-by-python": lambda _, report: _plugins(report, "python"),
    "plugins-by-napari": lambda _, report: _plugins(report, "napari"),
    "plugins-by-platform": lambda _, report: _plugins(report, "platform"),
    "commands": lambda _, report: list(report.get("commands", {}).items()),
    "layers": lambda _, report: _layers(report, lambda kind: "ndarray", lambda kind: kind[1]),
    "layers-by-size": lambda _, report: _layers(report, lambda kind: kind[3]),
    "layers-by-ndim": lambda _, report: _layers(report, lambda kind: kind[2][-1] if kind[0] == "points" else len(kind[2])),
    "layers-by-count": lambda _, report: [(kind[0], times) for kind, times in report.get("layers", {}).items()],
}


def public_numbers(reports: Mapping[Key, tuple[str, dict[str, Any]]]) -> dict[str, dict[tuple[str, ...], int]]:
    people: dict[str, dict[tuple[str, ...], set[tuple[int, int]]]] = {entry: defaultdict(set) for entry in CELLS}
    for (account, secrets, *_), (level, report) in reports.items():
        for entry, cells_of in CELLS.items():
            for values in cells_of(level, report):
                people[entry][tuple(map(str, values))].add((account, secrets))
    return public({entry: {values: len(who) for values, who in cells.items()} for entry, cells in people.items()})
