"""Declares every public number; computation, API, privacy page and consent text follow from it.

No field is collected without an entry that reads it.
"""

import hashlib
from dataclasses import dataclass

import msgspec
from napari_telemetry.wire import TELEMETRY_LEVELS, Level

MAX_DIMENSIONS = 3


@dataclass(frozen=True)
class Dimension:
    """A property by which people are grouped.

    ``part``: in a list, the key of its items; in a mapping, ``"@key"`` or ``"@value"``; None for a plain field.
    ``form``, ``names``: how a value is displayed. ``unlisted``: values that get no row, because a table with all possible rows
    would give an upper bound of the number of people.
    """

    name: str
    title: str
    field: str
    part: str | None = None
    form: str = "{}"
    names: tuple[tuple[str, str], ...] = ()
    unlisted: tuple[str, ...] = ()

    def reads(self, value: str) -> str:
        return dict(self.names).get(value) or self.form.format(value)


@dataclass(frozen=True)
class Entry:
    """One public number: a count of people, each counted at most once per cell.

    ``topic``: path under ``/api/stats/``. ``level``: the lowest that sends its fields. ``fixed``: number of leading dimensions
    in the path instead of ``by=``. ``only_where``: boolean field that must be true. ``decision``: what the number helps to
    decide. ``since``: release that added it.
    """

    id: str
    topic: str
    question: str
    level: Level
    decision: str
    dimensions: tuple[Dimension, ...] = ()
    fixed: int = 0
    only_where: str | None = None
    since: str = "0.1.0"

    @property
    def fields(self) -> tuple[str, ...]:
        only = (self.only_where,) if self.only_where else ()
        return tuple(dict.fromkeys((*(dimension.field for dimension in self.dimensions), *only)))

    @property
    def is_total(self) -> bool:
        """Whether the topic's other entries break this one down."""
        return self.fixed == len(self.dimensions)

    def about(self, subject: str | None) -> str:
        return self.question.replace("a plugin", subject) if subject is not None else self.question

    @property
    def by(self) -> tuple[str, ...]:
        return tuple(dimension.name for dimension in self.dimensions[self.fixed :])


LEVEL_COLUMN = "level"
"""The only dimension that comes from the consent and not from the report."""

LEVEL = Dimension("level", "Level", LEVEL_COLUMN, unlisted=("basic",))
NAPARI = Dimension("napari", "napari version", "napari_version")
PYTHON = Dimension("python", "Python version", "python_version")
PLATFORM = Dimension("platform", "Platform", "platform", names=(("darwin", "macOS"), ("win32", "Windows"), ("linux", "Linux")))
ARCHITECTURE = Dimension("architecture", "Processor", "cpu_architecture")
SYSTEM = Dimension("system", "Operating system", "sys_name")
PLUGIN = Dimension("plugin", "Plugin", "plugins", "name")
VERSION = Dimension("version", "Version", "plugins", "version")
COMMAND = Dimension("command", "Command", "command_usage", "@key")
TIMES = Dimension("times", "At least so often", "command_usage", "@value", "≥ {} times")
LAYER = Dimension("layer", "Layer type", "data_size_info", "layer")
CLASS = Dimension("class", "Data class", "data_size_info", "class")
DTYPE = Dimension("dtype", "Data type", "data_size_info", "dtype")
SIZE = Dimension("size", "Size", "data_size_info", "size_category")
NDIM = Dimension("ndim", "Dimensions", "data_size_info", "ndim", "{}D")
COUNT = Dimension("count", "At least so many", "data_size_info", "count", "≥ {}")

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "people", "napari", "How many people take part?", Level.BASIC,
        "How far all other numbers speak for the people who use napari; funders ask for it.",
    ),
    Entry(
        "people-by-level", "napari", "How much do people agree to send?", Level.BASIC,
        "Whether each level is worth its upkeep.", (LEVEL,),
    ),
    Entry(
        "people-by-napari", "napari", "Which napari versions are in use?", Level.BASIC,
        "How long an old napari gets fixes, and when a deprecated interface can go.", (NAPARI,),
    ),
    Entry(
        "people-by-python", "napari", "Which Python versions are in use?", Level.BASIC,
        "When a Python can be dropped, and when a new one must work.", (PYTHON,),
    ),
    Entry(
        "people-by-platform", "napari", "On which kinds of computers does napari run?", Level.BASIC,
        "For which platforms and processors to test, and to build the bundle.", (PLATFORM, ARCHITECTURE),
    ),
    Entry(
        "people-by-system", "napari", "On which operating systems does napari run?", Level.BASIC,
        "Which systems to test on, and how old a Qt they need.", (SYSTEM,),
    ),
    Entry(
        "new-people", "new", "How many people take part for the first time?", Level.BASIC,
        "Whether changes of the numbers are changes of use or new people.", only_where="first_report",
    ),
    Entry(
        "plugins", "plugins", "How many people have a plugin installed?", Level.MIDDLE,
        "Which plugins deserve care, tests together with napari, and funding.", (PLUGIN,), 1,
    ),
    Entry(
        "plugins-by-version", "plugins", "Which versions of a plugin are in use?", Level.MIDDLE,
        "How long a maintainer fixes an old release.", (PLUGIN, VERSION), 1,
    ),
    Entry(
        "plugins-by-python", "plugins", "With which Python versions is a plugin used?", Level.MIDDLE,
        "Which Python a maintainer can drop.", (PLUGIN, PYTHON), 1,
    ),
    Entry(
        "plugins-by-napari", "plugins", "With which napari versions is a plugin used?", Level.MIDDLE,
        "Which naparis a plugin has to work with.", (PLUGIN, NAPARI), 1,
    ),
    Entry(
        "plugins-by-platform", "plugins", "On which platforms is a plugin used?", Level.MIDDLE,
        "For which platforms a maintainer builds wheels.", (PLUGIN, PLATFORM), 1,
    ),
    Entry(
        "commands", "commands", "Which commands are used, and how often?", Level.FULL,
        "Which commands to make easier to find, and which could go.", (COMMAND, TIMES),
    ),
    Entry(
        "layers", "layers", "What kinds of data do people open?", Level.FULL,
        "Which kinds of data to make fast first.", (LAYER, CLASS, DTYPE),
    ),
    Entry(
        "layers-by-size", "layers", "How large is the data that people open?", Level.FULL,
        "Whether loading data that does not fit into memory is the common case.", (LAYER, SIZE),
    ),
    Entry(
        "layers-by-ndim", "layers", "How many dimensions does the data have?", Level.FULL,
        "How much work sliders and views of many dimensions are worth.", (LAYER, NDIM),
    ),
    Entry(
        "layers-by-count", "layers", "How many layers of a kind do people open in a week?", Level.FULL,
        "For how many layers the layer list and the canvas must stay fast.", (LAYER, COUNT),
    ),
)  # fmt: skip


def questions_reading(field: str) -> tuple[str, ...]:
    return tuple(entry.question for entry in CATALOGUE if field in entry.fields)


def questions_by_level() -> dict[str, list[str]]:
    """Return the questions by lowest level, for the client's consent dialog."""
    return {level.value: [entry.question for entry in CATALOGUE if entry.level is level] for level in TELEMETRY_LEVELS}


def topics() -> dict[str, tuple[Entry, ...]]:
    return {
        topic: tuple(entry for entry in CATALOGUE if entry.topic == topic)
        for topic in dict.fromkeys(entry.topic for entry in CATALOGUE)
    }


def catalogue_hash(catalogue: tuple[Entry, ...] = CATALOGUE) -> str:
    return hashlib.sha256(msgspec.json.encode(catalogue)).hexdigest()
