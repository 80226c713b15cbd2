"""Reads which napari a release asks for, of those releases alone that can be an answer, each once ever.

Those are the newest that fit some Python; and where one of them rules out a napari that is published, those that come next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec
import structlog
from packaging.metadata import parse_email
from packaging.version import Version

from update_server.index.compatibility import newest_fitting, pypi_candidates, pypi_classes
from update_server.index.model import Package
from update_server.index.napari_needs import admitted, napari_requirements
from update_server.index.pythons import PythonClasses
from update_server.index.sources.fetching import Fetcher, all_of
from update_server.settings import Upstreams

log = structlog.get_logger()

MINORS = range(8, 20)
"""Pythons that somebody may have; for others nothing is read."""

MOST_ROUNDS = 12
"""So many releases of a project are looked at in one refresh; the next goes on from there."""


async def with_needs(
    packages: tuple[Package, ...],
    known: Mapping[str, Package],
    metadata_urls: Mapping[str, Mapping[str, str]],
    fetcher: Fetcher,
    upstreams: Upstreams,
) -> tuple[Package, ...]:
    """Return the packages with the needs of their releases, as far as they are known or can be read.

    ``known``: an earlier index, by key. ``metadata_urls``: by key and version, where the index offers metadata (PEP 658, 714).
    What can't be read stays unknown, and excludes nothing.
    """
    classes = pypi_classes(packages, MINORS)
    naparis = tuple(Version(version) for version in _published_naparis(packages))
    reader = _Reader(fetcher, upstreams, metadata_urls)

    async def completed(package: Package) -> Package:
        package = _carried_over(package, known.get(package.key))
        for _ in range(MOST_ROUNDS):
            wanted = wanted_releases(package, classes, naparis)
            if not wanted:
                break
            found = await all_of(reader.needs(package.key, version) for version in wanted)
            needs = {version: need for version, need in zip(wanted, found, strict=True) if need is not None}
            if not needs:
                break
            package = _with(package, needs)
        return package

    return tuple(await all_of(completed(package) for package in packages))


def wanted_releases(package: Package, classes: PythonClasses, naparis: tuple[Version, ...]) -> list[str]:
    """Return the versions whose needs must be known next, to answer for every Python and napari. Pure."""
    if package.key == "napari":
        return []
    candidates = pypi_candidates(package, classes)
    needs = {release.version: release.needs_napari for release in package.releases}
    while candidates:
        answers = {answer.version for answer in newest_fitting(candidates, classes) if answer is not None}
        unknown = sorted(version for version in answers if needs[version] is None)
        if unknown:
            return unknown
        ruling_out = {
            version
            for version in answers
            if any(admitted(needs[version], napari, classes) != classes.all for napari in naparis)
        }
        if not ruling_out:
            return []
        candidates = [candidate for candidate in candidates if candidate.version not in ruling_out]
    return []


def _published_naparis(packages: tuple[Package, ...]) -> tuple[str, ...]:
    return next((package.published_finals for package in packages if package.key == "napari"), ())


def _carried_over(package: Package, earlier: Package | None) -> Package:
    """The package with the needs that an earlier index knew: a release never changes."""
    if earlier is None:
        return package
    return _with(
        package, {release.version: release.needs_napari for release in earlier.releases if release.needs_napari is not None}
    )


def _with(package: Package, needs: Mapping[str, tuple[str, ...]]) -> Package:
    releases = tuple(
        msgspec.structs.replace(release, needs_napari=needs[release.version])
        if release.needs_napari is None and release.version in needs
        else release
        for release in package.releases
    )
    return msgspec.structs.replace(package, releases=releases)


class _Reader:
    """Reads the requirements of single releases."""

    def __init__(self, fetcher: Fetcher, upstreams: Upstreams, urls: Mapping[str, Mapping[str, str]]) -> None:
        self._fetcher = fetcher
        self._upstreams = upstreams
        self._urls = urls

    async def needs(self, key: str, version: str) -> tuple[str, ...] | None:
        """Return what a release asks of napari; empty also where nobody offers its metadata; None where reading failed."""
        try:
            if url := self._urls.get(key, {}).get(version):
                address, _, digest = url.partition("#")
                answer = await self._fetcher.get(address, accept="*/*", is_json=False)
                if answer is not None and answer.text is not None and _is_the_one(answer.text, digest):
                    raw, _ = parse_email(answer.text)
                    return napari_requirements(raw.get("requires_dist", ()))
            answer = await self._fetcher.get(f"{self._upstreams.pypi}/pypi/{key}/{version}/json")
            if answer is None or answer.text is None:
                return ()  # nobody offers it, and a release never changes
            return napari_requirements(msgspec.json.decode(answer.text, type=_Project).info.requires_dist or ())
        except Exception as error:  # one release must never stop the reading: what can't be read is unknown
            log.info("needs_not_read", project=key, version=version, error=type(error).__name__)
            return None


class _Info(msgspec.Struct):
    requires_dist: list[str] | None = None


class _Project(msgspec.Struct):
    info: _Info


def _is_the_one(text: bytes, digest: str) -> bool:
    """Whether a text is the metadata that the index offers: by its digest, or else because it looks like metadata at all."""
    return hashlib.sha256(text).hexdigest() == digest if digest else text.lstrip().startswith(b"Metadata-Version")
