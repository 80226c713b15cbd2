"""Answers of the statistics API and the shields.io badge, with examples for OpenAPI."""

from typing import Any
from urllib.parse import urlencode

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import Struct

from aggregation.catalogue import CATALOGUE, Entry
from aggregation.export import Format
from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO
from aggregation.stores.aggregate import PublicRow
from aggregation.stores.records import Retraction

BADGE_LABEL = "installs"
WEEK = "2026-W40"
EXAMPLES = {
    "napari": "0.6.1", "python": "3.12", "platform": "linux", "architecture": "x86_64", "system": "Ubuntu 24.04",
    "plugin": "affinder", "version": "0.5.0", "command": "napari.viewer.toggle_theme", "times": "10", "level": "middle",
    "layer": "image", "class": "ndarray", "dtype": "uint8", "size": "MEDIUM", "ndim": "3", "count": "1",
}  # fmt: skip


class Badge(Struct, rename="camel"):
    """A badge as defined by https://shields.io/badges/endpoint-badge."""

    schema_version: int
    label: str
    message: str
    color: str
    is_error: bool
    cache_seconds: int


def badge_of(people: int | None) -> Badge:
    """Return the badge of a plugin. ``people``: the published number, rounded down (hence the plus); None if hidden."""
    message = f"{people:,}+" if people is not None else f"fewer than {LISTED_FROM}"
    return Badge(1, BADGE_LABEL, message, "#00629b" if people is not None else "lightgrey", False, 86400)


def badge_markdown(site: str, name: str) -> str:
    """Return Markdown that shows the badge. ``site``: URL without trailing slash."""
    image = f"https://img.shields.io/endpoint?{urlencode({'url': f'{site}/api/stats/plugins/{name}/badge'})}"
    return f"[![{BADGE_LABEL}]({image})]({site}/plugins/{name})"


class Numbers(Struct):
    """Published numbers. A number below ``listed_from`` has no row.

    ``weeks``: oldest first. ``retractions``: those that affect these numbers. ``next``: path of the next page, null on the
    last.
    """

    entry: str
    question: str
    listed_from: int
    rounded_down_to: int
    weeks: list[str]
    rows: list[PublicRow]
    retractions: list[Retraction]
    next: str | None = None


class EntryDescription(Struct):
    """A question of the catalogue, with the path of its numbers."""

    entry: str
    question: str
    level: str
    by: list[str]
    url: str


class Offer(Struct):
    """The answer of ``GET /api/stats``."""

    listed_from: int
    rounded_down_to: int
    formats: list[str]
    weeks: list[str]
    entries: list[EntryDescription]


def numbers_of(entry: Entry) -> ResponseSpec:
    values = {dimension.name: EXAMPLES[dimension.name] for dimension in entry.dimensions}
    row = PublicRow(WEEK, values, 45)
    numbers = Numbers(entry.id, entry.question, LISTED_FROM, ROUNDED_DOWN_TO, [WEEK], [row], [])
    return _described(Numbers, numbers, "the numbers")


def _described(kind: Any, example: Any, meaning: str) -> ResponseSpec:
    return ResponseSpec(kind, description=meaning, examples=[Example(value=msgspec.to_builtins(example))])


BADGE = _described(Badge, badge_of(120), "the badge")
OFFER = _described(
    Offer,
    Offer(
        LISTED_FROM,
        ROUNDED_DOWN_TO,
        list(Format),
        [WEEK],
        [EntryDescription(CATALOGUE[0].id, CATALOGUE[0].question, CATALOGUE[0].level, [], "/api/stats/napari")],
    ),
    "the questions",
)
RETRACTIONS = _described(
    list[Retraction],
    [Retraction("plugins", {"plugin": "affinder"}, WEEK, WEEK, "Forged reports", "2026-11-20T08:00:00Z")],
    "all retractions",
)
