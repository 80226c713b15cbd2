"""The answers of ``GET /api/updates``, made when the index changes, sent as they are.

A class of Pythons has one body on each channel. Its ETag is computed from its bytes, so it can't tell clients apart, and a
client can compute it from its own copy (design, "The ETag is no cookie"). Encodings are added behind the identity body as
they become ready: until then the identity body is the answer, which is right for everybody.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec
from cachetools import LRUCache
from napari_update_hook.wire import SCHEMA_VERSION, PackageUpdate, Updates
from packaging.version import Version

from update_server.index.compatibility import pypi_classes, pypi_updates
from update_server.index.conda import admits_napari as _admits_on_conda
from update_server.index.conda import conda_classes, conda_updates, name_of
from update_server.index.model import Facts
from update_server.index.napari_needs import admits as _admits_on_pypi
from update_server.index.pythons import FIRST_PREPARED_MINOR, PythonClass, PythonClasses, PythonVersion
from update_server.representations import Body

CHANNELS = ("pypi", "conda-forge")

NEWEST_PLAUSIBLE_MINOR = 40
"""A bound such as ``<3.99`` means "any": it names no Python that somebody has."""

MOST_MADE = 256
"""Bodies that are kept of those that are made when they are asked for: 30 kB each."""

MOST_NAPARIS = 2048
"""napari versions whose class is remembered."""

MINORS_AHEAD = 4
"""So many minors beyond the newest that the index names are prepared too."""


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

    Those without ``napari=`` are prepared. Those with it multiply, and those of Pythons that nobody has are not worth it: both
    are made when they are asked for, and the last `MOST_MADE` of them are kept.

    ``changed``: when the content with a given digest was first seen, from an earlier index; that keeps the body and ETag of a
    class that a refresh left alone. Afterwards it holds the digests of this index alone.
    """

    def __init__(self, facts: Facts, changed: Mapping[str, datetime] | None = None, *, check_again_s: int = 86400) -> None:
        self._facts = facts
        self._check_again_s = check_again_s
        self._known = dict(changed or {})
        self.changed: dict[str, datetime] = {}
        self._minors = prepared_minors(facts)
        self.channels = {channel: self._build(channel) for channel in (CHANNELS if facts.has_conda else CHANNELS[:1])}
        self.changed_at = max(self.changed.values(), default=facts.as_of)
        """When any of the prepared answers last changed."""
        self._lock = threading.Lock()  # bodies are made in threads, and found on the event loop
        self._made: LRUCache[tuple[str, int, int, frozenset[str]], Body] = LRUCache(MOST_MADE)
        self._napari_classes: LRUCache[tuple[str, str], frozenset[str]] = LRUCache(MOST_NAPARIS)
        self._needs = {channel: _needs_of(channel, facts) for channel in self.channels}

    def find(self, channel: str, python: PythonVersion, napari: str | None = None) -> Body | None:
        """Return the body, or None where it is not made yet: then `make` makes it. ``napari``: a PEP 440 version."""
        if napari is None and (body := self.channels[channel].find(python)) is not None:
            return body
        with self._lock:
            key = self._key(channel, python, napari)
            return self._made.get(key) if key else None

    def make(self, channel: str, python: PythonVersion, napari: str | None = None) -> Body:
        """Make and keep one body, with its encodings. Takes a fraction of a second: to be run in a thread."""
        classes = self.classes_for(channel, python)
        cls = classes.of(python)
        assert cls is not None
        answers = self._answers(channel, classes, napari)
        packages = {name: answer[cls.bit] for name, answer in answers.items()}
        body = Body(msgspec.json.encode(self._updates(cls, channel, packages, self.changed_at)))
        body.encode()
        told_apart = NO_NAPARI if napari is None else self._napari_class(channel, napari)
        with self._lock:
            if napari is not None:
                self._napari_classes[channel, napari] = told_apart
            self._made[channel, cls.representative.minor, cls.representative.patch, told_apart] = body
        return body

    def classes_for(self, channel: str, python: PythonVersion) -> PythonClasses:
        """Return classes of a channel, that of ``python`` among them."""
        classes = self.channels[channel].classes
        return classes if classes.of(python) else self._classes(channel, (*self._minors, python.minor))

    def encode(self) -> None:
        """Add the encodings to all prepared bodies. Takes seconds: to be run in a thread."""
        for bodies in self.channels.values():
            for body in bodies:
                body.encode()

    def _key(self, channel: str, python: PythonVersion, napari: str | None) -> tuple[str, int, int, frozenset[str]] | None:
        """Under which a body that is not prepared is kept; None where it can't have been made yet."""
        cls = self.channels[channel].classes.of(python)
        representative = cls.representative if cls else PythonVersion(python.minor)
        if napari is not None and (channel, napari) not in self._napari_classes:
            return None
        told_apart = NO_NAPARI if napari is None else self._napari_classes[channel, napari]
        return channel, representative.minor, representative.patch, told_apart

    def _napari_class(self, channel: str, napari: str) -> frozenset[str]:
        """The needs of the index that do not admit a napari: versions with the same ones have the same answers."""
        admits = _admits_on_pypi if channel == "pypi" else _admits_on_conda
        return frozenset(text for text in self._needs[channel] if not admits(text, napari))

    def _build(self, channel: str) -> ChannelBodies:
        classes = self._classes(channel, self._minors)
        answers = self._answers(channel, classes, None)
        bodies = {
            cls.bit: self._body(cls, channel, {name: answer[cls.bit] for name, answer in answers.items()})
            for cls in classes.classes
        }
        return ChannelBodies(classes, bodies)

    def _classes(self, channel: str, minors: Iterable[int]) -> PythonClasses:
        return (pypi_classes if channel == "pypi" else conda_classes)(self._facts.packages, sorted(set(minors)))

    def _answers(self, channel: str, classes: PythonClasses, napari: str | None) -> dict[str, list[PackageUpdate]]:
        packages = self._facts.packages
        if channel == "pypi":
            version = Version(napari) if napari else None
            return {package.key: pypi_updates(package, classes, version) for package in packages}
        return {package.key: conda_updates(package, package.conda, classes, napari) for package in packages if package.conda}

    def _body(self, cls: PythonClass, channel: str, packages: dict[str, PackageUpdate]) -> Body:
        """A prepared body, which keeps the ``index_version`` since which its content is what it is."""
        digest = hashlib.sha256(msgspec.json.encode(self._updates(cls, channel, packages, None))).hexdigest()
        since = self._known.get(digest, self._facts.as_of)
        self.changed[digest] = since
        return Body(msgspec.json.encode(self._updates(cls, channel, packages, since)))

    def _updates(self, cls: PythonClass, channel: str, packages: dict[str, PackageUpdate], since: datetime | None) -> Updates:
        return Updates(
            schema_version=SCHEMA_VERSION,
            python=cls.representative.feature_release,
            channel=channel,
            index_version=instant_text(since) if since else "",
            check_again_s=self._check_again_s,
            packages=packages,
        )


NO_NAPARI: frozenset[str] = frozenset({"no napari was named"})


def _needs_of(channel: str, facts: Facts) -> frozenset[str]:
    """Everything that decides on that channel which napari a release admits."""
    if channel == "pypi":
        releases = (release for package in facts.packages for release in package.releases)
        return frozenset(text for release in releases for text in release.needs_napari or ())
    files = (file for package in facts.packages if package.conda for file in package.conda.files)
    return frozenset(text for file in files for text in (*file.depends, *file.constrains) if name_of(text) == "napari")


def prepared_minors(facts: Facts) -> tuple[int, ...]:
    """Return the minors whose bodies are made ahead: from 3.6 to some beyond the newest that the index names."""
    files = {file.requires_python for package in facts.packages for release in package.releases for file in release.files}
    named = [int(minor) for text in files if text for minor in re.findall(r"\b3\.([0-9]{1,2})", text)]
    newest = max((minor for minor in named if minor <= NEWEST_PLAUSIBLE_MINOR), default=FIRST_PREPARED_MINOR)
    return tuple(range(FIRST_PREPARED_MINOR, newest + MINORS_AHEAD + 1))


def instant_text(instant: datetime) -> str:
    """Return an instant as the wire writes it: ``2026-08-22T22:10:09Z``."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
