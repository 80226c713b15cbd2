"""Answers of the statistics API, with examples for OpenAPI."""

from typing import Any

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import Struct

from aggregation.catalogue import CATALOGUE, Entry
from aggregation.export import Format
from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO
from aggregation.stores.aggregate import PublicRow
from aggregation.stores.records import Retraction
from update_server.statistics.badge import Badge, badge_of

WEEK = "2026-W40"
EXAMPLES = {
    "napari": "0.6.1", "python": "3.12", "platform": "linux", "architecture": "x86_64", "system": "Ubuntu 24.04",
    "plugin": "affinder", "version": "0.5.0", "command": "napari.viewer.toggle_theme", "times": "10", "level": "middle",
    "layer": "image", "class": "ndarray", "dtype": "uint8", "size": "MEDIUM", "ndim": "3", "count": "1",
}  # fmt: skip


class Numbers(Struct):
    """Cells below ``listed_from`` have no row.

    ``weeks``: oldest first. ``retractions``: those that affect these numbers. ``next``: address of the next page, null at the
    end.
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
    entry: str
    question: str
    level: str
    by: list[str]
    url: str


class Offer(Struct):
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
