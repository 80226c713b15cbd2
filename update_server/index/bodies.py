"""The answers of ``GET /api/updates``, made when the index changes, sent as they are.

A class of Pythons has one body on each channel. Its ETag is computed from its bytes, so it can't tell clients apart, and a
client can compute it from its own copy (design, "The ETag is no cookie"). Encodings are added behind the identity body as
they become ready: until then the identity body is the answer, which is right for everybody.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import brotli
import msgspec
import zstandard
from msgspec import Struct
from napari_update_hook.wire import SCHEMA_VERSION, PackageUpdate, Updates

from update_server.index.compatibility import pypi_classes, pypi_updates
from update_server.index.conda import conda_classes, conda_updates
from update_server.index.model import Facts
from update_server.index.pythons import FIRST_PREPARED_MINOR, PythonClass, PythonClasses, PythonVersion

CHANNELS = ("pypi", "conda-forge")
ENCODINGS = ("br", "zstd", "gzip")
"""In the order of preference: the smallest first."""

CACHE_CONTROL = b"public, max-age=300"

NEWEST_PLAUSIBLE_MINOR = 40
"""A bound such as ``<3.99`` means "any": it names no Python that somebody has."""

MINORS_AHEAD = 4
"""So many minors beyond the newest that the index names are prepared too."""


class Representation(Struct, frozen=True):
    """A body in one encoding, with the headers that go with it, as ASGI takes them."""

    content: bytes
    headers: list[tuple[bytes, bytes]]


class Body:
    """One answer: its bytes in each encoding that is ready, and its ETag without quotes or suffix."""

    __slots__ = ("etag", "identity", "representations")

    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        self.etag = hashlib.sha256(identity).hexdigest()[:32]
        self.representations = {"identity": self._representation(identity)}

    def encode(self) -> None:
        """Add the encodings, each at its best ratio. The same bytes on every replica: gzip's header gets no time."""
        encoded = {
            "br": brotli.compress(self.identity, quality=11),
            "zstd": zstandard.ZstdCompressor(level=19).compress(self.identity),
            "gzip": gzip.compress(self.identity, 9, mtime=0),
        }
        self.representations |= {name: self._representation(content, name) for name, content in encoded.items()}

    def _representation(self, content: bytes, encoding: str | None = None) -> Representation:
        headers = [
            (b"content-type", b"application/json"),
            (b"cache-control", CACHE_CONTROL),
            (b"vary", b"accept-encoding"),
            (b"etag", f'"{self.etag}{f"-{encoding}" if encoding else ""}"'.encode()),
            (b"content-length", str(len(content)).encode()),
        ]
        if encoding:
            headers.append((b"content-encoding", encoding.encode()))
        return Representation(content, headers)


class ChannelBodies:
    """The bodies of one channel, by class."""

    def __init__(self, classes: PythonClasses, bodies: dict[int, Body]) -> None:
        self.classes = classes
        self._bodies = bodies

    def find(self, python: PythonVersion) -> Body | None:
        """Return the body for a version, or None if its minor was not prepared."""
        cls = self.classes.of(python)
        return None if cls is None else self._bodies.get(cls.bit)

    def __iter__(self) -> Iterator[Body]:
        return iter(self._bodies.values())


class UpdateBodies:
    """All bodies of one index.

    ``changed``: when the content with a given digest was first seen, from an earlier index; that keeps the body and ETag of a
    class that a refresh left alone. Afterwards it holds the digests of this index alone.
    """

    def __init__(self, facts: Facts, changed: Mapping[str, datetime] | None = None, *, check_again_s: int = 86400) -> None:
        self._facts = facts
        self._check_again_s = check_again_s
        self._known = dict(changed or {})
        self.changed: dict[str, datetime] = {}
        self._minors = prepared_minors(facts)
        self.channels = {channel: self._build(channel, self._minors) for channel in self._offered()}
        self._others: dict[tuple[str, int], ChannelBodies] = {}

    def _offered(self) -> tuple[str, ...]:
        return CHANNELS if self._facts.has_conda else ("pypi",)

    def find(self, channel: str, python: PythonVersion) -> Body | None:
        """Return the body, or None where it is not made yet: then `make` makes it."""
        if (body := self.channels[channel].find(python)) is not None:
            return body
        others = self._others.get((channel, python.minor))
        return others.find(python) if others else None

    def make(self, channel: str, python: PythonVersion) -> Body:
        """Make and keep the bodies of a minor that was not prepared, of that one alone: at most 100, so bounded by itself."""
        made = self._build(channel, (*self._minors, python.minor), only=python.minor)
        self._others[channel, python.minor] = made
        body = made.find(python)
        assert body is not None
        return body

    def encode(self) -> None:
        """Add the encodings to all prepared bodies. Takes seconds: to be run in a thread."""
        for bodies in self.channels.values():
            for body in bodies:
                body.encode()

    def _build(self, channel: str, minors: tuple[int, ...], only: int | None = None) -> ChannelBodies:
        if channel == "pypi":
            classes = pypi_classes(self._facts.packages, minors)
            answers = {package.key: pypi_updates(package, classes) for package in self._facts.packages}
        else:
            classes = conda_classes(self._facts.packages, minors)
            answers = {
                package.key: conda_updates(package.conda, package.key, classes)
                for package in self._facts.packages
                if package.conda
            }
        bodies = {
            cls.bit: self._body(cls, channel, {name: answer[cls.bit] for name, answer in answers.items()})
            for cls in classes.classes
            if only in (None, cls.representative.minor)
        }
        return ChannelBodies(classes, bodies)

    def _body(self, cls: PythonClass, channel: str, packages: dict[str, PackageUpdate]) -> Body:
        answer = Updates(
            schema_version=SCHEMA_VERSION,
            python=cls.representative.feature_release,
            channel=channel,
            index_version="",
            check_again_s=self._check_again_s,
            packages=packages,
        )
        digest = hashlib.sha256(msgspec.json.encode(answer)).hexdigest()
        since = self._known.get(digest, self._facts.as_of)
        self.changed[digest] = since
        return Body(msgspec.json.encode(msgspec.structs.replace(answer, index_version=instant_text(since))))


def prepared_minors(facts: Facts) -> tuple[int, ...]:
    """Return the minors whose bodies are made ahead: from 3.6 to some beyond the newest that the index names."""
    files = {file.requires_python for package in facts.packages for release in package.releases for file in release.files}
    named = [int(minor) for text in files if text for minor in re.findall(r"\b3\.([0-9]{1,2})", text)]
    newest = max((minor for minor in named if minor <= NEWEST_PLAUSIBLE_MINOR), default=FIRST_PREPARED_MINOR)
    return tuple(range(FIRST_PREPARED_MINOR, newest + MINORS_AHEAD + 1))


def instant_text(instant: datetime) -> str:
    """Return an instant as the wire writes it: ``2026-08-22T22:10:09Z``."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
