"""The wire format of each level, shared by client, server and privacy page.

Patterns use ``[0-9]``, because ``\\d`` matches digits of other scripts, and a ``max_length``, because ``$`` allows a trailing
newline. The server's ``intake.validation`` checks the rest.
"""

from __future__ import annotations

import enum
import functools
import types
import typing
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, UnsetType, field

SCHEMA_VERSION = 1
"""Version of the set of fields. Increase it with every new field: every user is then asked again.

Declare the field as ``Annotated[KIND | UnsetType, Meta(..., extra={"since": VERSION})] = UNSET``, so that reports of older
clients stay valid."""


class Level(str, enum.Enum):
    """How much a person agreed to send. Each level includes the previous one."""

    NONE = "none"
    BASIC = "basic"
    MIDDLE = "middle"
    FULL = "full"

    def __str__(self) -> str:
        return self.value

    @property
    def rank(self) -> int:
        return list(Level).index(self)

    def includes(self, other: Level) -> bool:
        return self.rank >= other.rank


TELEMETRY_LEVELS = (Level.BASIC, Level.MIDDLE, Level.FULL)

MEANING = {
    Level.NONE: "Nothing is sent.",
    Level.BASIC: "Versions of napari and Python, and your operating system.",
    Level.MIDDLE: "Basic, and which public plugins are installed, with their versions.",
    Level.FULL: "Middle, and which commands were used and what kinds of layers were opened, roughly how often. "
    "No names, no paths, no pixels.",
}

WeekText = Annotated[
    str,
    Meta(
        pattern="^[0-9]{4}-W[0-9]{2}$",
        max_length=8,
        description="ISO week in UTC that the report is about",
        examples=["2026-W47"],
    ),
]
IdentifierText = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{32}$",
        max_length=32,
        description="pseudonym of the user account for this week and this service; a new one every week",
        examples=["9754d8f20e8124a25bb6d86c393f257a"],
    ),
]
EnvironmentText = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{8}$",
        max_length=8,
        description="pseudonym of the Python environment for this week, made from a random secret: no path goes into it",
        examples=["5be1a0c4"],
    ),
]
VersionText = Annotated[str, Meta(min_length=1, max_length=64)]
NameText = Annotated[str, Meta(min_length=1, max_length=128)]
CommandText = Annotated[str, Meta(min_length=1, max_length=256)]
ListedText = Annotated[str, Meta(min_length=1, max_length=64)]
PythonMinorText = Annotated[
    str,
    Meta(
        pattern="^(3\\.[0-9]{1,2}|other)$",
        max_length=5,
        description="Python version, without the patch release",
        examples=["3.11"],
    ),
]
AtLeast = Annotated[
    Literal[1, 10, 100, 1000],
    Meta(description="count, rounded down to 1, 10, 100 or 1000 on your computer"),
]
SizeCategory = Literal["SMALL", "MEDIUM", "LARGE", "VERY_LARGE"]


class PluginInstall(Struct, frozen=True, forbid_unknown_fields=True):
    """A plugin of the public index, in a final version."""

    name: Annotated[NameText, Meta(examples=["affinder"])]
    version: Annotated[VersionText, Meta(examples=["0.5.0"])]


class LayerUse(Struct, frozen=True, forbid_unknown_fields=True):
    """Layers of one kind that were opened in the week. No name, no path, no pixel."""

    layer: ListedText
    size_category: SizeCategory
    ndim: Annotated[int, Meta(ge=0, le=32)]
    class_: ListedText = field(name="class")
    dtype: ListedText
    count: AtLeast


class BasicReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Report of one Python environment on one week so far."""

    week: WeekText
    identifier: IdentifierText
    environment: EnvironmentText
    revision: Annotated[
        int,
        Meta(ge=1, le=2**31 - 1, description="revision of the report of this week: a later one replaces it", examples=[3]),
    ]
    napari_version: Annotated[
        VersionText, Meta(description="published napari version, or the word development", examples=["0.6.1"])
    ]
    python_version: PythonMinorText
    platform: Annotated[ListedText, Meta(description="operating system family, from a public list", examples=["linux"])]
    cpu_architecture: Annotated[ListedText, Meta(description="processor family, from a public list", examples=["x86_64"])]
    sys_name: Annotated[
        ListedText,
        Meta(description="name and version of the operating system, from a public list", examples=["Ubuntu 22.04"]),
    ]
    first_report: Annotated[bool, Meta(description="whether this is the first week in which you take part", examples=[False])]


class MiddleReport(BasicReport, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Basic, and the installed public plugins."""

    plugins: Annotated[
        list[PluginInstall],
        Meta(
            max_length=1000,
            description="installed plugins that the public index lists, in published final versions",
            examples=[[{"name": "affinder", "version": "0.5.0"}]],
        ),
    ]


class FullReport(MiddleReport, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Middle, and the commands and kinds of layers that were used."""

    command_usage: Annotated[
        dict[CommandText, AtLeast],
        Meta(
            max_length=5000,
            description="commands of napari and of public plugins that were run, and how often",
            examples=[{"napari.window.file.open_files_dialog": 10}],
        ),
    ]
    data_size_info: Annotated[
        list[LayerUse],
        Meta(
            max_length=500,
            description="kinds of layers that were opened: type, size category, dimensions, class, dtype, how often",
            examples=[
                [
                    {
                        "layer": "image",
                        "size_category": "MEDIUM",
                        "ndim": 3,
                        "class": "ndarray",
                        "dtype": "uint8",
                        "count": 1,
                    }
                ]
            ],
        ),
    ]


REPORT_TYPES: dict[Level, type[BasicReport]] = {
    Level.BASIC: BasicReport,
    Level.MIDDLE: MiddleReport,
    Level.FULL: FullReport,
}

R = TypeVar("R", bound=BasicReport)


class ConsentClaim(Struct, frozen=True, forbid_unknown_fields=True):
    """The agreed level, and the schema version that the person saw."""

    level: Level
    schema_version: Annotated[int, Meta(ge=1, le=10_000)]


class Batch(Struct, Generic[R], frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /api/updates/{level}``."""

    schema_version: Annotated[int, Meta(ge=1, le=10_000)]
    consent: ConsentClaim
    report: R


@functools.cache
def batch_decoder(level: Level) -> msgspec.json.Decoder[Batch[Any]]:
    """Return the decoder of a batch. ``level`` must not be none."""
    batch: Any = Batch  # generic over a type known only at run time
    return msgspec.json.Decoder(batch[REPORT_TYPES[level]])


class LeftOut(Struct, frozen=True):
    """Number of entries that were not stored because they are not on a public list."""

    plugins: int = 0
    commands: int = 0


class Receipt(Struct, frozen=True):
    """Outcome of a batch. ``revision``: the revision that the server has now."""

    stored: bool
    revision: int
    reason: str | None = None
    left_out: LeftOut = LeftOut()


class BatchAnswer(Struct, frozen=True):
    """Response of ``POST /api/updates/{level}``."""

    receipt: Receipt


class IdentifierQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /api/reports/find`` and ``/api/reports/delete``."""

    identifier: IdentifierText


class StoredReport(Struct, frozen=True):
    level: Level
    schema_version: int
    report: dict[str, Any]


class FoundReports(Struct, frozen=True):
    """Response of ``POST /api/reports/find``."""

    reports: list[StoredReport]


class DeletedReports(Struct, frozen=True):
    """Response of ``POST /api/reports/delete``."""

    deleted: int


class AllowList(Struct, frozen=True, omit_defaults=True):
    """Response of ``GET /api/telemetry/allowed/{level}``: the strings that a report may contain."""

    schema_version: int
    napari_versions: list[str]
    python_versions: list[str]
    platforms: list[str]
    cpu_architectures: list[str]
    sys_names: list[str]
    plugins: dict[str, list[str]] | None = None
    commands: dict[str, list[str]] | None = None
    layers: list[str] | None = None
    classes: list[str] | None = None
    dtypes: list[str] | None = None


KEY_FIELDS = ("week", "identifier", "environment", "revision")
"""Fields that address a report instead of answering a question."""


class WireField(Struct, frozen=True):
    """Description of a field. ``since``: the schema version that added it."""

    name: str
    type: str
    description: str
    example: Any
    since: int = 1


@functools.cache
def fields_of(level: Level) -> tuple[WireField, ...]:
    """Return the fields of a level, read from the structs, so that the privacy page always matches the validation."""
    if level is Level.NONE:
        return ()
    report = REPORT_TYPES[level]
    hints = typing.get_type_hints(report, include_extras=True)
    described = []
    for item in msgspec.structs.fields(report):
        meta = _merged_meta(hints[item.name])
        described.append(WireField(item.encode_name, _describe_type(hints[item.name]), *meta))
    return tuple(described)


def _merged_meta(hint: Any) -> tuple[str, Any, int]:
    description, example, since = "", None, 1
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, Meta):
            description = meta.description or description
            example = meta.examples[0] if meta.examples else example
            since = (meta.extra or {}).get("since", since)
    return description, example, since


def _describe_type(hint: Any) -> str:
    """Return a readable type, such as ``list of {name, version}``."""
    if typing.get_origin(hint) is Annotated:
        hint = typing.get_args(hint)[0]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return f"list of {_describe_type(arguments[0])}"
    if origin is dict:
        return f"{_describe_type(arguments[0])} → {_describe_type(arguments[1])}"
    if origin is Literal:
        return " or ".join(str(value) for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe_type(argument) for argument in arguments if argument is not UnsetType)
    if isinstance(hint, type) and issubclass(hint, Struct):
        return "{" + ", ".join(item.encode_name for item in msgspec.structs.fields(hint)) + "}"
    return {str: "text", bool: "yes or no", int: "whole number"}[hint]
