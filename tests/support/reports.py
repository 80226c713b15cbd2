"""Sample reports, and their expected public numbers computed in plain Python."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Any

from napari_telemetry.wire import KEY_FIELDS, SCHEMA_VERSION

from aggregation.catalogue import CATALOGUE, LEVEL_COLUMN, Dimension, Entry
from aggregation.stores.reports import Report
from tests.support.rule import public
from update_server.demo.population import World, generate_batch, generate_people

WEEK = "2026-W40"
PLUGINS = ("affinder", "napari-svg", "napari-harpy", "rare-plugin")
_RELEASES = [("0.4.0", date(2024, 1, 1)), ("0.5.0", date(2026, 6, 1))]
WORLD = World(
    [("0.6.1", date(2024, 1, 1)), ("0.7.1", date(2026, 7, 1))],
    dict.fromkeys(PLUGINS, _RELEASES),
    {"napari": ["napari.window.open"], "affinder": ["affinder.start_affinder"]},
)


def report(
    person: int, environment: int = 0, *, week: str = WEEK, revision: int = 1, level: str = "full", **changes: Any
) -> Report:
    document: dict[str, Any] = {
        "napari_version": "0.6.1",
        "python_version": "3.11",
        "platform": "linux",
        "cpu_architecture": "x86_64",
        "sys_name": "Debian 12",
        "first_report": False,
    }
    if level != "basic":
        document["plugins"] = [{"name": "affinder", "version": "0.5.0"}]
    if level == "full":
        layer = {"layer": "image", "size_category": "SMALL", "ndim": 3, "class": "ndarray", "dtype": "uint8", "count": 10}
        document |= {"command_usage": {"affinder.start_affinder": 10}, "data_size_info": [layer]}
    return Report(week, f"{person:032x}", f"{environment:08x}", revision, level, 1, document | changes)


def random_reports(seed: int, people: int, *, week: str = WEEK) -> list[Report]:
    """Return reports of people, some of whom have several environments or a lower level."""
    dice = random.Random(seed)
    crowd = generate_people(
        PLUGINS, 1, people, seed, python_at=lambda dice, _: dice.choice(("3.10", "3.11", "3.12")), spread=0.5
    )
    found = []
    for person in crowd:
        for environment in person.environments:
            batch = generate_batch(WORLD, person, environment, week, dice, is_first=dice.random() < 0.3)
            key = {name: batch["report"].pop(name) for name in KEY_FIELDS}
            found.append(Report(**key, level=person.level, schema_version=SCHEMA_VERSION, document=batch["report"]))
    return found


def expected(reports: Iterable[Report]) -> dict[str, dict[tuple[str, ...], int]]:
    """Compute the expected public numbers without the program's code."""
    reports = list(reports)
    return public({entry.id: count_people(entry, reports) for entry in CATALOGUE})


def count_people(entry: Entry, reports: Iterable[Report]) -> dict[tuple[str, ...], int]:
    """Count people per cell of an entry."""
    people: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for item in reports:
        if entry.only_where and not item.document[entry.only_where]:
            continue
        for values in _values(item, entry.dimensions):
            people[values].add(item.identifier)
    return {values: len(who) for values, who in people.items()}


def _values(item: Report, dimensions: tuple[Dimension, ...]) -> list[tuple[str, ...]]:
    exploded = [dimension.field for dimension in dimensions if dimension.part is not None]
    if not exploded:
        return [tuple(_value(item, dimension, None) for dimension in dimensions)]
    field = item.document.get(exploded[0], ())
    items = list(field.items()) if isinstance(field, dict) else list(field)
    return [tuple(_value(item, dimension, one) for dimension in dimensions) for one in items]


def _value(item: Report, dimension: Dimension, one: Any) -> str:
    if dimension.field == LEVEL_COLUMN:
        return item.level
    if dimension.part is None:
        return str(item.document[dimension.field])
    if dimension.part == "@key":
        return str(one[0])
    return str(one[1] if dimension.part == "@value" else one[dimension.part])
