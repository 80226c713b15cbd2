"""The index as files for any web server. Pure functions.

Each endpoint exists with and without a file extension, because web servers and GitHub Pages resolve names differently. If a
folder has the same name (``/api/conda``), only the file with the extension exists.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import msgspec
from napari_update_hook.table import CHANNELS

from update_server.index.coverage import Coverage, coverage_of, months_table, supports_table
from update_server.index.feeds import feed, releases_of
from update_server.index.model import Package
from update_server.index.snapshot import Document, Index
from update_server.index.sources.projects import ADVISORIES
from update_server.index.table import Tables, encoded, instant_text
from update_server.representations import JSON, Body

TABLES = {channel: f"/api/updates/{channel}.json" for channel in CHANNELS}
PLUGINS = ("/api/plugins", "/api/plugins.json", "/index.json")
SUMMARY = ("/api/extended_summary", "/api/extended_summary.json", "/extended_summary.json")
LISTS = {
    "/api/conda": ("/api/conda.json", "/api/conda-map", "/api/conda-map.json", "/conda.json"),
    "/api/readers": ("/api/readers", "/api/readers.json", "/readers.json"),
    "/classifiers.json": ("/classifiers.json",),
}

COVERAGE = {"json": "/api/pythons.json", "csv": "/api/pythons.csv", "months-csv": "/api/pythons-by-month.csv"}

HEADERS = {
    "x-content-type-options": "nosniff",
    "access-control-allow-origin": "*",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
}
"""Headers of every file. The index page has inline styles and no scripts."""

_OF_PROJECT = re.compile(r"/api/(pypi|manifest|conda)/[a-z0-9]+(-[a-z0-9]+)*\Z")

BLUE, RED = "#0074B8", "#82001A"
LOGO = (files("update_server.index") / "logo.svg").read_text("utf-8").strip()


def _file(content: bytes, media_type: str = JSON, packed: bytes | None = None) -> Body:
    return Body(content, media_type, headers=HEADERS, gzipped=packed)


def _text(document: Document) -> Body:
    return _file(document.text(), packed=document.body)


def files_of(index: Index, tables: Tables) -> dict[str, Body]:
    """Return every file by path (``/api/updates/pypi.json``). A seed has no files from upstream."""
    found = {TABLES[channel]: _file(encoded(table)) for channel, table in tables.tables.items()}
    plugins = _file(msgspec.json.encode({package.name: package.version for package in index.facts.packages}))
    found |= dict.fromkeys(PLUGINS, plugins)
    if (summary := index.documents.get("/api/extended_summary")) is not None:
        found |= dict.fromkeys(SUMMARY, _text(summary))
    for path, places in LISTS.items():
        if path in index.documents:
            found |= dict.fromkeys(places, _text(index.documents[path]))
    errors = errors_of(index, tables)
    found["/errors.json"] = _file(msgspec.json.encode(errors))
    for path, document in index.documents.items():
        if _OF_PROJECT.match(path):
            found |= dict.fromkeys((path, f"{path}.json"), _text(document))
    for package in index.facts.packages:
        badge = _file(msgspec.json.encode(badge_of(package.key)))
        found |= {
            f"{folder}/{package.key}{ending}": badge for folder in ("/api/shields", "/shields") for ending in ("", ".json")
        }
    coverage = coverage_of(index.facts, tables)
    found[COVERAGE["json"]] = _file(msgspec.json.encode(coverage))
    found[COVERAGE["csv"]] = _file(supports_table(coverage).encode(), "text/csv")
    found[COVERAGE["months-csv"]] = _file(months_table(coverage).encode(), "text/csv")
    found |= dict(_feeds(index, tables))
    found["/index.html"] = _file(_page(index, coverage, len(errors)), "text/html; charset=utf-8")
    return found


def badge_of(key: str | None) -> dict[str, Any]:
    """Return the shields.io badge as today's index does. ``key``: None for an unknown plugin."""
    return {
        "color": BLUE if key else RED,
        "label": "napari hub",
        "logoSvg": LOGO,
        "message": key or "unavailable",
        "schemaVersion": 1,
        "style": "flat-square",
    }


def errors_of(index: Index, tables: Tables) -> dict[str, Any]:
    """Return projects that could not be read and omitted data, with reasons."""
    known: dict[str, Any] = {}
    if (document := index.documents.get("/errors.json")) is not None:
        known = msgspec.json.decode(document.text(), type=dict[str, Any])
    versions: dict[str, str] = {package.key: package.version for package in (*index.facts.packages, *index.facts.parts)}
    reasons: dict[str, list[str]] = {key: [text] for key, text in index.skipped.items()}
    for package in (*index.facts.packages, *index.facts.parts):
        notes = [f"{release.version}: {release.note}" for release in package.releases if release.note]
        if notes:
            reasons.setdefault(package.key, []).extend(notes)
    for key in tables.cut:
        reasons.setdefault(key, []).append("some releases, which would make the update table too large")
    for key, texts in sorted(reasons.items()):
        before = f"{known[key]['error']}; " if isinstance(known.get(key), dict) and "error" in known[key] else ""
        known[key] = {"version": versions.get(key), "error": f"{before}left out: {'; '.join(texts)}"[:2000]}
    for key, stale in index.stale.items():
        if key != ADVISORIES:
            known[key] = {"version": versions.get(key), "error": stale.error}
    return known


def _feeds(index: Index, tables: Tables) -> Iterator[tuple[str, Body]]:
    as_of, everything = instant_text(index.facts.as_of), []
    for package in index.facts.packages:
        releases = releases_of(package, tables.compatibility["pypi"][package.key])
        everything += releases
        path = f"/feeds/{package.key}.atom"
        yield path, _file(feed(f"{package.name} releases", path, releases, as_of), "application/atom+xml")
    everything.sort(key=lambda one: one.day, reverse=True)
    yield "/feeds/all.atom", _file(feed("napari plugin releases", "/feeds/all.atom", everything, as_of), "application/atom+xml")


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((files("update_server.index") / "index.html").read_text("utf-8"))


def _page(index: Index, coverage: Coverage, errors: int) -> bytes:
    def released(package: Package) -> str:
        return next((one.uploaded for one in package.releases if one.version == package.version and one.uploaded), "")

    rows = [(package, released(package)) for package in index.facts.packages if package.key != "napari"]
    return (
        _template()
        .render(
            rows=sorted(rows, key=lambda row: row[0].key),
            as_of=instant_text(index.facts.as_of),
            coverage=coverage,
            stale=sorted(index.stale.items()),
            errors=errors,
            has_conda=index.facts.has_conda,
        )
        .encode()
    )
