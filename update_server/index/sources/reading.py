"""What every source does alike: read single projects, lean on the index before, and make one index of it all.

One project's failure never stops the reading: the entry of the index before stays, and is named as stale with its reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from packaging.utils import NormalizedName, canonicalize_name

from update_server.index.model import FACTS_FORMAT, Facts, Package
from update_server.index.snapshot import Document, Index, Origin, Stale
from update_server.index.sources.advisories import with_vulnerabilities
from update_server.index.sources.fetching import Fetcher, UpstreamError, all_of
from update_server.index.sources.metadata import with_needs
from update_server.index.sources.parsing import SIMPLE_JSON, ProjectPage, project_page
from update_server.settings import Upstreams

log = structlog.get_logger()

GRACE = timedelta(days=7)
"""So long a project stays that the upstream does not list any more: it may be an upstream's mistake."""

ADVISORIES = "advisories of OSV"
"""Under this name they are among what could not be read; no project can have it."""

Progress = Callable[[int, int], None]
"""Told how many projects are done, of how many."""


class ReadProject(Struct, frozen=True):
    """One project as read.

    ``package`` is None for one that is not listed, or of which not even an earlier entry is known. ``skipped``: what of its
    releases was passed over because it can't be read, in words.
    """

    package: Package | None
    fact_etag: str | None
    documents: dict[str, Document]
    stale: Stale | None = None
    metadata_urls: dict[str, str] = {}
    skipped: str = ""


class Reader:
    """Reads texts and release lists, and takes from the index before what has not changed."""

    def __init__(self, fetcher: Fetcher, upstreams: Upstreams, previous: Index | None) -> None:
        self.fetcher = fetcher
        self.upstreams = upstreams
        self.previous = previous
        self.packages: Mapping[str, Package] = previous.facts.by_key() if previous else {}

    async def document(self, path: str, address: str | None = None) -> Document | None:
        """Return the text that is served at ``path``; the earlier one where it has not changed, None where there is none.

        ``address``: where it is read, today's index by default. Raises UpstreamError.
        """
        earlier = self.previous.documents.get(path) if self.previous else None
        known = earlier.etag if earlier and _is_etag(earlier.etag) else None
        answer = await self.fetcher.get(address or self.upstreams.index + path, etag=known)
        if answer is None:
            return None
        if answer.text is None:
            return earlier
        return await asyncio.to_thread(Document.of, answer.text, answer.etag)

    async def page(self, key: NormalizedName) -> tuple[ProjectPage, str | None]:
        """Return a project's releases and their ETag. Raises UpstreamError where PyPI has none that can be installed."""
        earlier = self.packages.get(key)
        known = self.previous.fact_etags.get(key) if self.previous and earlier else None
        address = f"{self.upstreams.pypi}/simple/{key}/"
        answer = await self.fetcher.get(address, etag=known, accept=SIMPLE_JSON)
        if answer is None:
            raise UpstreamError("PyPI does not know it")
        if answer.text is None:
            assert earlier is not None  # a 304 answers the ETag that was known
            skipped = self.previous.skipped.get(key, "") if self.previous else ""
            return ProjectPage(earlier.releases, {}, skipped), answer.etag
        page = project_page(answer.text, address)
        if not page.releases:
            raise UpstreamError("PyPI names no file of it that can be installed")
        return page, answer.etag

    def earlier(self, key: NormalizedName, paths: list[str], error: str) -> ReadProject:
        """Return the last good entry of a project, with its age and why it is not a new one."""
        package = self.packages.get(key)
        if self.previous is None or package is None:
            return ReadProject(None, None, {}, Stale(None, error))
        documents = {path: self.previous.documents[path] for path in paths if path in self.previous.documents}
        before = self.previous.stale.get(key)
        since = before.since if before else self.previous.facts.as_of
        return ReadProject(package, self.previous.fact_etags.get(key), documents, Stale(since, error))


def in_words(error: Exception) -> str:
    """Return why a project could not be read; a fault that nobody foresaw goes to the log as well."""
    if isinstance(error, (UpstreamError, msgspec.MsgspecError)):
        return str(error)
    log.exception("project_not_read")
    return f"{type(error).__name__}: {error}"


def _is_etag(text: str | None) -> bool:
    """Whether this is what a server gave, and not the mark of a wheel that the other source left with a manifest."""
    return text is not None and text.isascii() and text.startswith(('"', "W/"))


async def read_all(work: Mapping[str, Coroutine[Any, Any, ReadProject]], progress: Progress) -> dict[str, ReadProject]:
    """Read all projects at once, and tell how far that is; return them by the names under which they came."""
    done = 0

    async def counted(item: Coroutine[Any, Any, ReadProject]) -> ReadProject:
        nonlocal done
        result = await item
        done += 1
        progress(done, len(work))
        return result

    progress(0, len(work))
    return dict(zip(work, await all_of(counted(item) for item in work.values()), strict=True))


async def completed(
    reader: Reader, projects: dict[str, ReadProject], now: datetime, *, has_conda: bool
) -> tuple[Facts, dict[str, ReadProject], dict[str, Stale]]:
    """Return the facts of all projects, with grace, needs, vulnerabilities; all projects; what else went wrong."""
    projects = projects | _in_grace(reader.previous, set(map(canonicalize_name, projects)), now)
    packages = tuple(project.package for project in projects.values() if project.package)
    urls: dict[str, dict[str, str]] = {
        project.package.key: project.metadata_urls for project in projects.values() if project.package
    }
    packages = await with_needs(packages, reader.packages, urls, reader.fetcher, reader.upstreams)
    packages, trouble = await _with_vulnerabilities(packages, reader)
    return Facts(FACTS_FORMAT, now, has_conda, packages), projects, trouble


def as_index(
    facts: Facts, projects: Mapping[str, ReadProject], lists: Mapping[str, Document], trouble: Mapping[str, Stale]
) -> Index:
    """Return the index of what was read. ``lists``: the texts about all projects, by path."""
    documents = dict(lists)
    for project in projects.values():
        documents |= project.documents
    return Index(
        facts=facts,
        origin=Origin.REFRESH,
        documents=documents,
        fact_etags={
            project.package.key: project.fact_etag for project in projects.values() if project.package and project.fact_etag
        },
        skipped={project.package.key: project.skipped for project in projects.values() if project.package and project.skipped},
        stale={canonicalize_name(name): project.stale for name, project in projects.items() if project.stale} | dict(trouble),
    )


def _in_grace(previous: Index | None, listed: set[NormalizedName], now: datetime) -> dict[str, ReadProject]:
    """Projects that the upstream listed before and does not list any more: kept for a while, and marked."""
    if previous is None or previous.origin is Origin.SEED:
        return {}
    kept = {}
    for package in previous.facts.packages:
        if package.key not in listed:
            before = previous.stale.get(package.key)
            since = before.since if before and before.has_vanished and before.since else previous.facts.as_of
            if now < since + GRACE:
                paths = (f"/api/{kind}/{package.key}" for kind in ("pypi", "manifest", "conda"))
                documents = {path: previous.documents[path] for path in paths if path in previous.documents}
                stale = Stale(since, f"the index does not list it any more; it is kept until {since + GRACE:%Y-%m-%d}", True)
                kept[package.name] = ReadProject(package, None, documents, stale)
    return kept


async def _with_vulnerabilities(packages: tuple[Package, ...], reader: Reader) -> tuple[tuple[Package, ...], dict[str, Stale]]:
    """The packages with known vulnerabilities: those that the index before knew where OSV can't be read, with the reason."""
    try:
        return await with_vulnerabilities(packages, reader.fetcher, reader.upstreams), {}
    except Exception as error:  # warnings must never stop the index
        known = reader.packages
        kept = tuple(
            msgspec.structs.replace(package, vulnerabilities=known[package.key].vulnerabilities)
            if package.key in known
            else package
            for package in packages
        )
        return kept, {ADVISORIES: Stale(reader.previous.facts.as_of if reader.previous else None, in_words(error))}
