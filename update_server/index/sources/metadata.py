"""Requirements of the releases that some environment may install, each read once.

These are the newest release for each Python version and, if it excludes a published napari version, the next older ones.
"""

import asyncio
import hashlib
from collections.abc import Mapping

import msgspec
import structlog

from update_server.index.compatibility import pypi_compatibility, table_rows
from update_server.index.model import Package
from update_server.index.pythons import MINORS_AHEAD, OLDEST_MINOR
from update_server.index.sources.fetching import MAX_METADATA, Fetcher, TooLongError, gather_or_cancel
from update_server.index.sources.parsing import (
    Requirements,
    TooLargeError,
    requirements_of,
    requirements_of_metadata,
    too_many_pythons,
)
from update_server.settings import Upstreams

log = structlog.get_logger()

MAX_ROUNDS = 12
"""Maximum number of rounds per project in one refresh; the next refresh continues."""

MAX_READ = 60
"""Maximum number of releases to read per project, except napari."""


async def with_requirements(
    packages: tuple[Package, ...],
    known: Mapping[str, Package],
    metadata_urls: Mapping[str, Mapping[str, str]],
    fetcher: Fetcher,
    upstreams: Upstreams,
    newest_minor: int,
) -> tuple[Package, ...]:
    """Return the packages with the requirements of their releases.

    ``known``: previous packages. ``metadata_urls``: by key and version (PEP 658, 714). Requirements that cannot be read
    stay unknown and exclude nothing.
    """
    last_minor = newest_minor + MINORS_AHEAD
    naparis = next((package.published_finals for package in packages if package.key == "napari"), ())
    reader = _Reader(fetcher, upstreams, metadata_urls, range(OLDEST_MINOR, last_minor + 1))

    async def completed(package: Package) -> Package:
        package = _with_known_requirements(package, known.get(package.key))
        for _ in range(MAX_ROUNDS):
            if package.key != "napari" and sum(release.requires is not None for release in package.releases) > MAX_READ:
                break
            wanted = await asyncio.to_thread(releases_to_fetch, package, last_minor, naparis)
            found = await gather_or_cancel(reader.requirements(package.key, version) for version in wanted)
            read = {version: one for version, one in zip(wanted, found, strict=True) if one is not None}
            if not read:
                break
            package = _with(package, read)
            if too_many_pythons(text.partition(";")[2] for release in package.releases for text in release.requires or ()):
                package = _with(package, dict.fromkeys(read, Requirements((), note="markers that name too many Pythons")))
        return package

    return tuple(await gather_or_cancel(completed(package) for package in packages))


def releases_to_fetch(package: Package, last_minor: int, naparis: tuple[str, ...]) -> list[str]:
    """Return the versions to read next."""
    unknown = {release.version for release in package.releases if release.requires is None}
    if not unknown:
        return []
    compatibility = pypi_compatibility(package, last_minor, frozenset({"napari"}))
    rows = table_rows(compatibility, naparis, all_finals=package.key == "napari")
    return sorted({row.version for row in rows} & unknown)


def _with_known_requirements(package: Package, earlier: Package | None) -> Package:
    """Reuse requirements that are already known: releases do not change."""
    known = earlier.releases if earlier else ()
    return _with(
        package,
        {
            release.version: Requirements(release.requires, release.is_invalid, release.note)
            for release in known
            if release.requires is not None
        },
    )


def _with(package: Package, read: Mapping[str, Requirements]) -> Package:
    releases = tuple(
        msgspec.structs.replace(release, requires=found.requires, is_invalid=found.is_invalid, note=found.note)
        if (found := read.get(release.version))
        else release
        for release in package.releases
    )
    return msgspec.structs.replace(package, releases=releases)


class _Info(msgspec.Struct):
    requires_dist: list[str] | None = None


class _Project(msgspec.Struct):
    info: _Info


_decode_project = msgspec.json.Decoder(_Project).decode  # at import: see parsing.py


class _Reader:
    def __init__(self, fetcher: Fetcher, upstreams: Upstreams, urls: Mapping[str, Mapping[str, str]], minors: range) -> None:
        self._fetcher = fetcher
        self._upstreams = upstreams
        self._urls = urls
        self._minors = minors

    async def requirements(self, key: str, version: str) -> Requirements | None:
        """Return the requirements of a release: empty if it has no metadata, None if reading failed."""
        try:
            if url := self._urls.get(key, {}).get(version):
                address, _, digest = url.partition("#")
                answer = await self._fetcher.get(address, accept="*/*", is_json=False, max_bytes=MAX_METADATA)
                if answer is not None and answer.text is not None and _is_metadata(answer.text, digest):
                    return await asyncio.to_thread(requirements_of_metadata, answer.text, self._minors)
            answer = await self._fetcher.get(f"{self._upstreams.pypi}/pypi/{key}/{version}/json")
            if answer is None or answer.text is None:
                return Requirements(())  # final: releases do not change
            return await asyncio.to_thread(_of_json, answer.text, self._minors)
        except (TooLargeError, TooLongError) as error:
            return Requirements((), note=f"its requirements were omitted: {error}")
        except Exception as error:  # one release must not stop the refresh
            log.info("requirements_not_read", project=key, version=version, error=type(error).__name__)
            return None


def _of_json(text: bytes, minors: range) -> Requirements:
    return requirements_of(_decode_project(text).info.requires_dist or (), minors)


def _is_metadata(text: bytes, digest: str) -> bool:
    """Return whether the text has the digest or, if none is given, starts with the right header."""
    return hashlib.sha256(text).hexdigest() == digest if digest else text.lstrip().startswith(b"Metadata-Version")
