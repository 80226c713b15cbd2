"""Atom feeds (RFC 4287) of new releases. Pure functions."""

import uuid
from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from msgspec import Struct

from update_server.index.compatibility import Compatibility
from update_server.index.model import Package

MAX_ENTRIES = 50

_FEED = """<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom">
<id>{id}</id>
<title>{title}</title>
<updated>{updated}</updated>
<author><name>napari plugin index</name></author>
{entries}</feed>
"""
_ENTRY = """<entry>
<id>{url}</id>
<title>{name} {version}</title>
<updated>{day}T00:00:00Z</updated>
<link rel="alternate" href={link}/>
<content type="text">{content}</content>
</entry>
"""


class NewRelease(Struct, frozen=True):
    """An entry of a feed. ``day``: upload of its first file, UTC. ``pythons``, ``naparis``: specifiers, or "any"."""

    name: str
    version: str
    day: str
    pythons: str
    naparis: str


def releases_of(package: Package, compatibility: Compatibility) -> list[NewRelease]:
    """Return installable releases with a known day, newest first."""
    days = {release.version: release.uploaded for release in package.releases}
    found = []
    for candidate in compatibility.candidates:
        if (day := days.get(candidate.version)) and candidate.pythons:
            text = candidate.texts.get(candidate.pythons)
            pythons = [text] if text is not None else [part for _, part in compatibility.domain.specifiers(candidate.pythons)]
            naparis = dict.fromkeys(alternative.requires_napari for alternative in candidate.alternatives)
            found.append(NewRelease(package.name, candidate.version, day, _or(pythons), _or(naparis)))
    return sorted(found, key=lambda one: one.day, reverse=True)


def feed(title: str, address: str, releases: Iterable[NewRelease], as_of: str) -> bytes:
    """Return a feed as XML. ``address``: path of the feed. ``as_of``: time of the index."""
    newest = list(releases)[:MAX_ENTRIES]
    entries = []
    for one in newest:
        url = f"https://pypi.org/project/{one.name}/{one.version}/"
        content = f"Python: {one.pythons}. napari: {one.naparis}."
        entries.append(
            _ENTRY.format(
                url=escape(url),
                link=quoteattr(url),
                name=escape(one.name),
                version=escape(one.version),
                day=one.day,
                content=escape(content),
            )
        )
    updated = f"{newest[0].day}T00:00:00Z" if newest else as_of
    return _FEED.format(
        id=uuid.uuid5(uuid.NAMESPACE_URL, f"napari-index{address}").urn,
        title=escape(title),
        updated=updated,
        entries="".join(entries),
    ).encode()


def _or(specifiers: Iterable[str]) -> str:
    found = list(specifiers)
    return "any" if not found or "" in found else " or ".join(found)
