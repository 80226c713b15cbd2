"""The list of plugins, searched and sorted. Pure functions."""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct
from packaging.utils import canonicalize_name

from update_server.index.coverage import newest_pythons, shown_pythons
from update_server.index.model import Package
from update_server.index.snapshot import Document, Index
from update_server.index.table import Tables

_SEARCHED = ("display_name", "summary", "author")


class Order(StrEnum):
    """Sort order of the list."""

    INSTALLS = "installs"
    NAME = "name"
    RELEASED = "released"


class Plugin(Struct, frozen=True):
    """A row of the list.

    ``people``: the number in the last week, None if hidden. ``released``, ``pythons``: of the newest release.
    """

    key: str
    name: str
    summary: str
    author: str
    version: str
    released: str | None
    pythons: str
    people: int | None


def listing(index: Index, tables: Tables, people: Mapping[str, int], search: str, order: Order) -> list[Plugin]:
    """Return the plugins whose name, summary or author contain all words of ``search``."""
    texts = _texts(index.documents.get("/api/extended_summary"))
    words = search.lower().split()
    found = []
    for package in index.facts.packages:
        text = texts.get(package.key, {})
        haystack = " ".join((package.name, package.key, *(str(text.get(field) or "") for field in _SEARCHED))).lower()
        if package.key != "napari" and all(word in haystack for word in words):
            found.append(plugin_of(index, tables, package, people.get(package.key)))
    found.sort(key=lambda one: one.key)
    if order is Order.INSTALLS:
        found.sort(key=lambda one: -(one.people or 0))
    elif order is Order.RELEASED:
        found.sort(key=lambda one: one.released or "", reverse=True)
    return found


def plugin_of(index: Index, tables: Tables, package: Package, people: int | None = None) -> Plugin:
    text = _texts(index.documents.get("/api/extended_summary")).get(package.key, {})
    return Plugin(
        package.key,
        str(text.get("display_name") or package.name),
        str(text.get("summary") or ""),
        str(text.get("author") or ""),
        package.version,
        next((one.uploaded for one in package.releases if one.version == package.version), None),
        newest_pythons(tables.compatibility["pypi"][package.key], shown_pythons(tables)),
        people,
    )


@lru_cache(maxsize=2)
def _texts(document: Document | None) -> dict[str, dict[str, Any]]:
    """Return the summaries by normalized name; empty while the seed is served."""
    if document is None:
        return {}
    summaries = msgspec.json.decode(document.text(), type=list[dict[str, Any]])
    return {canonicalize_name(str(summary.get("name", ""))): summary for summary in summaries}
