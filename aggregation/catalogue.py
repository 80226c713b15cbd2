"""Declares every public number. The computation, API, privacy page and consent text are derived from it.

Every collected field is used by at least one entry.
"""

import hashlib
from dataclasses import dataclass

import msgspec
from napari_telemetry.wire import TELEMETRY_LEVELS, Level

MAX_DIMENSIONS = 3


@dataclass(frozen=True)
class Dimension:
    """A property by which people are grouped.

    ``part``: which part of the field to use: for a list, a key of its items; for a mapping, ``"@key"`` or ``"@value"``;
    None for a plain field.
    ``form``, ``names``: how a value is displayed. ``unlisted``: values that never get a row: a table with all possible rows
    would reveal an upper bound on the number of people.
    """

    name: str
    title: str
    field: str
    part: str | None = None
    form: str = "{}"
    names: tuple[tuple[str, str], ...] = ()
    unlisted: tuple[str, ...] = ()

    def reads(self, value: str) -> str:
        """Return a value as it is displayed."""
        return dict(self.names).get(value) or self.form.format(value)


@dataclass(frozen=True)
class Entry:
    """One public number: a count of people, each counted at most once per cell.

    ``topic``: path under ``/api/stats/``. ``level``: the lowest level that sends its fields. ``fixed``: how many
    leading dimensions are given in the path instead of ``by=``. ``only_where``: a boolean field; only reports where it is
    true are counted. ``decision``: the decision that the number supports. ``since``: the release that added it.
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
        """Return the question, about one plugin if ``subject`` names it."""
        return self.question.replace("a plugin", subject) if subject is not None else self.question

    @property
    def by(self) -> tuple[str, ...]:
        """Return the dimensions that a query chooses with ``by=``."""
        return tuple(dimension.name for dimension in self.dimensions[self.fixed :])


LEVEL_COLUMN = "level"
"""The only dimension taken from the consent instead of the report."""

LEVEL = Dimension("level", "Level", LEVEL_COLUMN, unlisted=("basic",))
NAPARI = Dimension("napari", "napari version", "napari_version")
PYTHON = Dimension("python", "Python version", "python_version")
PLATFORM = Dimension("platform", "Platform", "platform", names=(("darwin", "macOS"), ("win32", "Windows"), ("linux", "Linux")))
ARCHITECTURE = Dimension("architecture", "Processor", "cpu_architecture")
SYSTEM = Dimension("system", "Operating system", "sys_name")
PLUGIN = Dimension("plugin", "Plugin", "plugins", "name")
VERSION = Dimension("version", "Version", "plugins", "version")
COMMAND = Dimension("command", "Command", "command_usage", "@key")
TIMES = Dimension("times", "Minimum uses", "command_usage", "@value", "≥ {} times")
LAYER = Dimension("layer", "Layer type", "data_size_info", "layer")
CLASS = Dimension("class", "Data class", "data_size_info", "class")
DTYPE = Dimension("dtype", "Data type", "data_size_info", "dtype")
SIZE = Dimension("size", "Size", "data_size_info", "size_category")
NDIM = Dimension("ndim", "Dimensions", "data_size_info", "ndim", "{}D")
COUNT = Dimension("count", "Minimum layers", "data_size_info", "count", "≥ {}")

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "people", "napari", "How many people take part?", Level.BASIC,
        "How representative all other numbers are of napari's users; funders ask for it.",
    ),
    Entry(
        "people-by-level", "napari", "How much do people agree to send?", Level.BASIC,
        "Whether each level is worth its upkeep.", (LEVEL,),
    ),
    Entry(
        "people-by-napari", "napari", "Which napari versions are in use?", Level.BASIC,
        "How long an old napari version gets fixes, and when a deprecated API can be removed.", (NAPARI,),
    ),
    Entry(
        "people-by-python", "napari", "Which Python versions are in use?", Level.BASIC,
        "When a Python version can be dropped, and when a new one must be supported.", (PYTHON,),
    ),
    Entry(
        "people-by-platform", "napari", "Which platforms and processors does napari run on?", Level.BASIC,
        "Which platforms and processors to test on and to build the bundle for.", (PLATFORM, ARCHITECTURE),
    ),
    Entry(
        "people-by-system", "napari", "Which operating systems does napari run on?", Level.BASIC,
        "Which systems to test on, and how old a Qt version they need.", (SYSTEM,),
    ),
    Entry(
        "new-people", "new", "How many people take part for the first time?", Level.BASIC,
        "Whether changes in the numbers come from changed use or from new people.", only_where="first_report",
    ),
    Entry(
        "plugins", "plugins", "How many people have a plugin installed?", Level.MIDDLE,
        "Which plugins deserve attention, joint tests with napari, and funding.", (PLUGIN,), 1,
    ),
    Entry(
        "plugins-by-version", "plugins", "Which versions of a plugin are in use?", Level.MIDDLE,
        "How long a maintainer supports an old release.", (PLUGIN, VERSION), 1,
    ),
    Entry(
        "plugins-by-python", "plugins", "Which Python versions is a plugin used with?", Level.MIDDLE,
        "Which Python versions a maintainer can drop.", (PLUGIN, PYTHON), 1,
    ),
    Entry(
        "plugins-by-napari", "plugins", "Which napari versions is a plugin used with?", Level.MIDDLE,
        "Which napari versions a plugin has to support.", (PLUGIN, NAPARI), 1,
    ),
    Entry(
        "plugins-by-platform", "plugins", "Which platforms is a plugin used on?", Level.MIDDLE,
        "Which platforms a maintainer should build wheels for.", (PLUGIN, PLATFORM), 1,
    ),
    Entry(
        "commands", "commands", "Which commands are used, and how often?", Level.FULL,
        "Which commands to make easier to find, and which to remove.", (COMMAND, TIMES),
    ),
    Entry(
        "layers", "layers", "What kinds of data do people open?", Level.FULL,
        "Which kinds of data to optimize first.", (LAYER, CLASS, DTYPE),
    ),
    Entry(
        "layers-by-size", "layers", "How large is the data that people open?", Level.FULL,
        "Whether loading data that does not fit into memory is the common case.", (LAYER, SIZE),
    ),
    Entry(
        "layers-by-ndim", "layers", "How many dimensions does the data have?", Level.FULL,
        "How much effort to put into sliders and views for many dimensions.", (LAYER, NDIM),
    ),
    Entry(
        "layers-by-count", "layers", "How many layers of a kind do people open in a week?", Level.FULL,
        "How many layers the layer list and the canvas must handle without slowing down.", (LAYER, COUNT),
    ),
)  # fmt: skip


def questions_using(field: str) -> tuple[str, ...]:
    return tuple(entry.question for entry in CATALOGUE if field in entry.fields)


def questions_by_level() -> dict[str, list[str]]:
    """Return the questions by the level that first answers them, for the client's consent dialog."""
    return {level.value: [entry.question for entry in CATALOGUE if entry.level is level] for level in TELEMETRY_LEVELS}


def topics() -> dict[str, tuple[Entry, ...]]:
    """Return the entries by topic."""
    return {
        topic: tuple(entry for entry in CATALOGUE if entry.topic == topic)
        for topic in dict.fromkeys(entry.topic for entry in CATALOGUE)
    }


def catalogue_hash(catalogue: tuple[Entry, ...] = CATALOGUE) -> str:
    return hashlib.sha256(msgspec.json.encode(catalogue)).hexdigest()
