"""Reads today's plugin index for the list, texts, manifests and conda packages, and PyPI for the releases.

One project's failure never stops the reading: the entry of the index before stays, and is named as stale with its reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from packaging.utils import NormalizedName, canonicalize_name

from update_server.index.model import FACTS_FORMAT, CondaPackage, Facts, Package
from update_server.index.snapshot import Document, Index, Origin, Stale
from update_server.index.sources.advisories import with_vulnerabilities
from update_server.index.sources.fetching import Fetcher, UpstreamError, all_of
from update_server.index.sources.metadata import with_needs
from update_server.index.sources.parsing import SIMPLE_JSON, ProjectPage, commands_of, conda_package, object_of, project_page
from update_server.settings import Upstreams

LISTS = ("/api/plugins", "/api/extended_summary", "/api/conda", "/api/readers", "/classifiers.json", "/errors.json")
"""Texts of the index that are about all projects; without the first there is no index."""

GRACE = timedelta(days=7)
"""So long a project stays that the upstream does not list any more: it may be an upstream's mistake."""

ADVISORIES = "advisories of OSV"
"""Under this name they are among what could not be read; no project can have it."""

Progress = Callable[[int, int], None]
"""Told how many projects are done, of how many."""


class _Project(Struct, frozen=True):
    """One project as read: None as package where not even an earlier entry is known."""

    package: Package | None
    fact_etag: str | None
    documents: dict[str, Document]
    stale: Stale | None = None
    metadata_urls: dict[str, str] = {}


async def read_index(
    fetcher: Fetcher, upstreams: Upstreams, previous: Index | None, now: datetime, progress: Progress
) -> Index:
    """Return a whole new index, as of ``now``.

    ``previous`` gives what has not changed since, and what an upstream fails to give. Raises UpstreamError where the lists
    cannot be had.
    """
    reader = _Reader(fetcher, upstreams, previous, now)
    lists = dict(zip(LISTS, await all_of(reader.document(path) for path in LISTS), strict=True))
    if (plugins := lists["/api/plugins"]) is None:
        raise UpstreamError(f"{upstreams.index}/api/plugins: not found; is {upstreams.index} a plugin index?")
    versions = object_of(plugins.text())
    conda = object_of(lists["/api/conda"].text()) if lists["/api/conda"] else {}
    classifiers = object_of(lists["/classifiers.json"].text()) if lists["/classifiers.json"] else {}
    unlisted = sorted(set(classifiers.get("active", ())) - set(versions))
    done = 0

    async def counted(work: Coroutine[Any, Any, _Project]) -> _Project:
        nonlocal done
        result = await work
        done += 1
        progress(done, total)
        return result

    work = [reader.project(name, str(versions[name]), on_conda=bool(conda.get(name))) for name in versions]
    work += [reader.unlisted(name) for name in unlisted]
    total = len(work)
    progress(0, total)
    read = await all_of(counted(item) for item in work)
    projects = dict(zip((*versions, *unlisted), read, strict=True))
    projects |= _in_grace(previous, set(map(canonicalize_name, projects)), now)
    packages = tuple(project.package for project in projects.values() if project.package)
    urls = {project.package.key: project.metadata_urls for project in projects.values() if project.package}
    packages = await with_needs(packages, previous.facts.by_key() if previous else {}, urls, fetcher, upstreams)
    packages, trouble = await _with_vulnerabilities(packages, previous, fetcher, upstreams)
    facts = Facts(FACTS_FORMAT, now, lists["/api/conda"] is not None, packages)
    return _assembled(lists, projects, facts, trouble)


def _in_grace(previous: Index | None, listed: set[NormalizedName], now: datetime) -> dict[str, _Project]:
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
                kept[package.name] = _Project(package, None, documents, stale)
    return kept


async def _with_vulnerabilities(
    packages: tuple[Package, ...], previous: Index | None, fetcher: Fetcher, upstreams: Upstreams
) -> tuple[tuple[Package, ...], dict[str, Stale]]:
    """The packages with known vulnerabilities: those that the index before knew where OSV can't be read, with the reason."""
    try:
        return await with_vulnerabilities(packages, fetcher, upstreams), {}
    except UpstreamError as error:
        earlier = previous.facts.by_key() if previous else {}
        kept = tuple(
            msgspec.structs.replace(package, vulnerabilities=earlier[package.key].vulnerabilities)
            if package.key in earlier
            else package
            for package in packages
        )
        return kept, {ADVISORIES: Stale(previous.facts.as_of if previous else None, str(error))}


def _assembled(
    lists: dict[str, Document | None], projects: dict[str, _Project], facts: Facts, trouble: dict[str, Stale]
) -> Index:
    documents = {path: document for path, document in lists.items() if document is not None}
    for project in projects.values():
        documents |= project.documents
    return Index(
        facts=facts,
        origin=Origin.REFRESH,
        documents=documents,
        fact_etags={
            project.package.key: project.fact_etag for project in projects.values() if project.package and project.fact_etag
        },
        stale={canonicalize_name(name): project.stale for name, project in projects.items() if project.stale} | trouble,
    )


class _Reader:
    """Reads single projects, leaning on the index before."""

    def __init__(self, fetcher: Fetcher, upstreams: Upstreams, previous: Index | None, now: datetime) -> None:
        self._fetcher = fetcher
        self._upstreams = upstreams
        self._previous = previous
        self._packages = previous.facts.by_key() if previous else {}
        self._now = now

    async def document(self, path: str) -> Document | None:
        """Return a text of the index, the earlier one where it has not changed, None where there is none."""
        earlier = self._previous.documents.get(path) if self._previous else None
        answer = await self._fetcher.get(self._upstreams.index + path, etag=earlier.etag if earlier else None)
        if answer is None:
            return None
        if answer.text is None:
            return earlier
        return await asyncio.to_thread(Document.of, answer.text, answer.etag)

    async def unlisted(self, name: str) -> _Project:
        """Read a project that the index knows without listing it: its text alone."""
        path = f"/api/pypi/{canonicalize_name(name)}"
        try:
            document = await self.document(path)
        except UpstreamError:
            document = self._previous.documents.get(path) if self._previous else None
        return _Project(None, None, {path: document} if document else {})

    async def project(self, name: str, version: str, *, on_conda: bool) -> _Project:
        """Read a listed project. Never raises: a failure makes it stale."""
        key = canonicalize_name(name)
        paths = [f"/api/pypi/{key}", f"/api/manifest/{key}"] + ([f"/api/conda/{key}"] if on_conda else [])
        try:
            page, etag = await self._page(key)
            found = await all_of(self.document(path) for path in paths)
            documents = {path: document for path, document in zip(paths, found, strict=True) if document is not None}
            package = Package(
                key,
                name,
                version,
                page.releases,
                _commands(documents, paths[1]),
                _conda(documents, paths[-1]) if on_conda else None,
            )
            if not page.releases:
                raise UpstreamError("PyPI names no file of it that can be installed")
        except (UpstreamError, msgspec.MsgspecError) as error:
            return self._earlier(key, paths, str(error))
        return _Project(package, etag, documents, metadata_urls=page.metadata_urls)

    async def _page(self, key: NormalizedName) -> tuple[ProjectPage, str | None]:
        earlier = self._packages.get(key)
        known = self._previous.fact_etags.get(key) if self._previous and earlier else None
        address = f"{self._upstreams.pypi}/simple/{key}/"
        answer = await self._fetcher.get(address, etag=known, accept=SIMPLE_JSON)
        if answer is None:
            raise UpstreamError("PyPI does not know it")
        if answer.text is None:
            assert earlier is not None  # a 304 answers the ETag that was known
            return ProjectPage(earlier.releases, {}), answer.etag
        return project_page(answer.text, address), answer.etag

    def _earlier(self, key: NormalizedName, paths: list[str], error: str) -> _Project:
        """The last good entry, with its age."""
        package = self._packages.get(key)
        if self._previous is None or package is None:
            return _Project(None, None, {}, Stale(None, error))
        documents = {path: self._previous.documents[path] for path in paths if path in self._previous.documents}
        before = self._previous.stale.get(key)
        since = before.since if before else self._previous.facts.as_of
        return _Project(package, self._previous.fact_etags.get(key), documents, Stale(since, error))


def _commands(documents: dict[str, Document], path: str) -> tuple[str, ...]:
    return commands_of(documents[path].text()) if path in documents else ()


def _conda(documents: dict[str, Document], path: str) -> CondaPackage | None:
    return conda_package(documents[path].text()) if path in documents else None
