"""Code that all sources share.

If a project cannot be read, its previous entry stays, marked as stale with the reason.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from msgspec import Struct
from packaging.utils import NormalizedName, canonicalize_name

from update_server.index.model import NAPARI_PARTS, Facts, Package
from update_server.index.snapshot import Document, Index, Origin, Stale
from update_server.index.sources.advisories import with_vulnerabilities
from update_server.index.sources.fetching import Fetcher, UpstreamError, gather_or_cancel
from update_server.index.sources.metadata import with_requirements
from update_server.index.sources.parsing import (
    SIMPLE_JSON,
    ProjectPage,
    TooLargeError,
    conda_package,
    is_project_name,
    project_page,
)
from update_server.index.table import newest_minor
from update_server.settings import Upstreams

log = structlog.get_logger()

GRACE = timedelta(days=7)
"""How long a project stays in the index after upstream dropped it, perhaps by mistake."""

MAX_PROJECTS = 5_000
"""Maximum number of projects in a first index; currently there are 660."""

MAX_GROWTH = 1.25
"""Maximum ratio of projects to the previous index; fifty more are always allowed."""

ADVISORIES = "advisories of OSV"
"""Key of advisories in `Index.stale`; no project can have this name."""

LIST = "list of projects"
"""Key of the list in `Index.skipped`."""

Progress = Callable[[int, int], None]
"""Callback that gets the number of finished projects and of all projects."""


class UnknownProjectError(UpstreamError):
    """The project is not on PyPI."""


class ReadProject(Struct, frozen=True):
    """Data of one project.

    ``package``: None if unlisted, or unreadable without an earlier entry. ``skipped``: omitted data, with reasons.
    """

    package: Package | None
    fact_etag: str | None
    documents: dict[str, Document]
    stale: Stale | None = None
    metadata_urls: dict[str, str] = {}
    skipped: str = ""


class Reader:
    """Reads texts and releases, and reuses unchanged ones."""

    def __init__(self, fetcher: Fetcher, upstreams: Upstreams, previous: Index | None) -> None:
        self.fetcher = fetcher
        self.upstreams = upstreams
        self.previous = previous
        facts = previous.facts if previous else None
        self.packages: Mapping[str, Package] = {one.key: one for one in (*facts.packages, *facts.parts)} if facts else {}

    async def document(self, path: str, address: str | None = None) -> Document | None:
        """Return the text for ``path``, the previous text if unchanged, or None for 404. ``address``: where to read it.

        Raises UpstreamError.
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
        """Return a project's files and their ETag. Raises UpstreamError if PyPI has no installable file."""
        earlier = self.packages.get(key)
        known = self.previous.fact_etags.get(key) if self.previous and earlier else None
        address = f"{self.upstreams.pypi}/simple/{key}/"
        answer = await self.fetcher.get(address, etag=known, accept=SIMPLE_JSON)
        if answer is None:
            raise UnknownProjectError("it is not on PyPI")
        if answer.text is None:
            assert earlier is not None  # 304 needs a known ETag
            skipped = self.previous.skipped.get(key, "") if self.previous else ""
            return ProjectPage(earlier.releases, {}, skipped), answer.etag
        page = await asyncio.to_thread(project_page, answer.text, address, key)
        if not page.releases:
            raise UpstreamError("PyPI has no installable file of it")
        return page, answer.etag

    def earlier(self, key: NormalizedName, paths: list[str], error: str) -> ReadProject:
        """Return the previous entry, marked as stale."""
        package = self.packages.get(key)
        if self.previous is None or package is None:
            return ReadProject(None, None, {}, Stale(None, error))
        documents = {path: self.previous.documents[path] for path in paths if path in self.previous.documents}
        before = self.previous.stale.get(key)
        since = before.since if before else self.previous.facts.as_of
        return ReadProject(package, self.previous.fact_etags.get(key), documents, Stale(since, error))


def error_text(error: Exception) -> str:
    """Return the text of an error for the index; log the error if it is unexpected."""
    if isinstance(error, (UpstreamError, TooLargeError, msgspec.MsgspecError)):
        return str(error)
    log.exception("project_not_read")
    return f"{type(error).__name__}: {error}"


def _is_etag(text: str | None) -> bool:
    """Return whether a text is an ETag: the other source stores a wheel's digest instead."""
    return text is not None and text.isascii() and text.startswith(('"', "W/"))


def valid_names(names: list[str], previous: Index | None) -> tuple[list[str], dict[str, str]]:
    """Return the valid names, and a note about the others. Raises UpstreamError if there are too many names."""
    limit = MAX_PROJECTS
    if previous is not None and previous.origin is not Origin.SEED:
        limit = min(limit, int(len(previous.facts.packages) * MAX_GROWTH) + 50)
    if len(names) > limit:
        raise UpstreamError(f"The upstream lists {len(names)} projects; more than {limit} are implausible")
    good = [name for name in names if is_project_name(name)]
    bad = len(names) - len(good)
    return good, {LIST: f"{bad} invalid project names were omitted"} if bad else {}


async def read_all(work: Mapping[str, Coroutine[Any, Any, ReadProject]], progress: Progress) -> dict[str, ReadProject]:
    done = 0

    async def counted(item: Coroutine[Any, Any, ReadProject]) -> ReadProject:
        nonlocal done
        result = await item
        done += 1
        progress(done, len(work))
        return result

    progress(0, len(work))
    return dict(zip(work, await gather_or_cancel(counted(item) for item in work.values()), strict=True))


async def assemble_index(
    reader: Reader,
    projects: dict[str, ReadProject],
    lists: Callable[[tuple[Package, ...]], Mapping[str, Document]],
    now: datetime,
    *,
    has_conda: bool,
    skipped: Mapping[str, str],
    refused_wheels: Mapping[str, str] | None = None,
) -> Index:
    """Return the index, with recently dropped projects, napari's parts, requirements and vulnerabilities.

    ``lists``: makes the texts about all projects.
    """
    listed = projects | _recently_dropped(reader.previous, set(map(canonicalize_name, projects)), now)
    keys = {project.package.key for project in listed.values() if project.package}
    parts = await gather_or_cancel(
        _part(reader, canonicalize_name(name), has_conda=has_conda) for name in NAPARI_PARTS if name not in keys
    )
    every = [*listed.values(), *parts]
    packages = tuple(project.package for project in every if project.package)
    urls: dict[str, dict[str, str]] = {project.package.key: project.metadata_urls for project in every if project.package}
    newest = newest_minor(Facts(now, has_conda, packages))
    known = reader.packages if reader.previous and reader.previous.origin is not Origin.SEED else {}
    packages = await with_requirements(packages, known, urls, reader.fetcher, reader.upstreams, newest)
    packages, trouble = await _with_vulnerabilities(packages, reader)
    facts = Facts(
        now,
        has_conda,
        tuple(package for package in packages if package.key in keys),
        tuple(package for package in packages if package.key not in keys),
    )
    documents = dict(lists(facts.packages))
    for project in listed.values():
        documents |= project.documents
    return Index(
        facts=facts,
        origin=Origin.REFRESH,
        documents=documents,
        fact_etags={project.package.key: project.fact_etag for project in every if project.package and project.fact_etag},
        skipped=dict(skipped)
        | {project.package.key: project.skipped for project in every if project.package and project.skipped},
        stale={canonicalize_name(name): one.stale for name, one in listed.items() if one.stale}
        | {one.package.key: one.stale for one in parts if one.package and one.stale}
        | trouble,
        refused_wheels=dict(refused_wheels or {}),
    )


async def _part(reader: Reader, key: NormalizedName, *, has_conda: bool) -> ReadProject:
    """Read one of napari's parts; on an error, return its previous entry. A part that is not on PyPI is omitted."""
    try:
        page, etag = await reader.page(key)
        address = f"{reader.upstreams.conda}/package/conda-forge/{key}"
        answer = await reader.fetcher.get(address) if has_conda else None
        names = frozenset(NAPARI_PARTS)
        conda = await asyncio.to_thread(conda_package, answer.text, names) if answer and answer.text else None
    except UnknownProjectError:
        return ReadProject(None, None, {})
    except Exception as error:  # one project must not stop the refresh
        return reader.earlier(key, [], error_text(error))
    package = Package(key, key, page.releases[0].version, page.releases, (), conda)
    return ReadProject(package, etag, {}, metadata_urls=page.metadata_urls, skipped=page.skipped)


def _recently_dropped(previous: Index | None, listed: set[NormalizedName], now: datetime) -> dict[str, ReadProject]:
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
                stale = Stale(since, f"the index no longer lists it; it is kept until {since + GRACE:%Y-%m-%d}", True)
                kept[package.name] = ReadProject(package, None, documents, stale)
    return kept


async def _with_vulnerabilities(packages: tuple[Package, ...], reader: Reader) -> tuple[tuple[Package, ...], dict[str, Stale]]:
    """Add vulnerabilities; keep the previous ones if OSV fails."""
    try:
        return await with_vulnerabilities(packages, reader.fetcher, reader.upstreams), {}
    except Exception as error:  # missing advisories must not stop the refresh
        known = reader.packages
        kept = tuple(
            msgspec.structs.replace(package, vulnerabilities=known[package.key].vulnerabilities)
            if package.key in known
            else package
            for package in packages
        )
        return kept, {ADVISORIES: Stale(reader.previous.facts.as_of if reader.previous else None, error_text(error))}
