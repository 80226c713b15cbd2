"""Reads today's plugin index for the list, texts, manifests and conda packages, and PyPI for the releases."""

from __future__ import annotations

from datetime import datetime

from packaging.utils import canonicalize_name

from update_server.index.model import CondaPackage, Package
from update_server.index.snapshot import Document, Index
from update_server.index.sources.fetching import Fetcher, UpstreamError, all_of
from update_server.index.sources.parsing import commands_of, conda_package, object_of
from update_server.index.sources.reading import Progress, Reader, ReadProject, as_index, completed, in_words, read_all
from update_server.settings import Upstreams

LISTS = ("/api/plugins", "/api/extended_summary", "/api/conda", "/api/readers", "/classifiers.json", "/errors.json")
"""Texts of the index that are about all projects; without the first there is no index."""


async def read_index(
    fetcher: Fetcher, upstreams: Upstreams, previous: Index | None, now: datetime, progress: Progress
) -> Index:
    """Return a whole new index, as of ``now``.

    ``previous`` gives what has not changed since, and what an upstream fails to give. Raises UpstreamError where the lists
    cannot be had.
    """
    reader = Reader(fetcher, upstreams, previous)
    read = dict(zip(LISTS, await all_of(reader.document(path) for path in LISTS), strict=True))
    lists = {path: document for path, document in read.items() if document is not None}
    if "/api/plugins" not in lists:
        raise UpstreamError(f"{upstreams.index}/api/plugins: not found; is {upstreams.index} a plugin index?")
    versions, conda, classifiers = (
        object_of(lists[path].text()) if path in lists else {} for path in ("/api/plugins", "/api/conda", "/classifiers.json")
    )
    known = {name for state in ("active", "withdrawn", "deleted") for name in classifiers.get(state) or ()}
    unlisted = sorted(known - set(versions))
    work = {name: _project(reader, name, str(versions[name]), on_conda=bool(conda.get(name))) for name in versions}
    work |= {name: _unlisted(reader, name) for name in unlisted}
    projects = await read_all(work, progress)
    facts, projects, trouble = await completed(reader, projects, now, has_conda="/api/conda" in lists)
    return as_index(facts, projects, lists, trouble)


async def _unlisted(reader: Reader, name: str) -> ReadProject:
    """Read a project that the index knows without listing it: its texts alone."""
    documents = {}
    for kind in ("pypi", "manifest", "conda"):
        path = f"/api/{kind}/{canonicalize_name(name)}"
        try:
            document = await reader.document(path)
        except Exception:  # its text is not worth a refresh
            document = reader.previous.documents.get(path) if reader.previous else None
        if document is not None:
            documents[path] = document
    return ReadProject(None, None, documents)


async def _project(reader: Reader, name: str, version: str, *, on_conda: bool) -> ReadProject:
    """Read a listed project. Never raises: a failure makes it stale."""
    key = canonicalize_name(name)
    paths = [f"/api/pypi/{key}", f"/api/manifest/{key}"] + ([f"/api/conda/{key}"] if on_conda else [])
    try:
        page, etag = await reader.page(key)
        found = await all_of(reader.document(path) for path in paths)
        documents = {path: document for path, document in zip(paths, found, strict=True) if document is not None}
        conda = _conda(documents, paths[-1]) if on_conda else None
        package = Package(key, name, version, page.releases, _commands(documents, paths[1]), conda)
    except Exception as error:  # one project must never stop the reading
        return reader.earlier(key, paths, in_words(error))
    return ReadProject(package, etag, documents, metadata_urls=page.metadata_urls, skipped=page.skipped)


def _commands(documents: dict[str, Document], path: str) -> tuple[str, ...]:
    return commands_of(documents[path].text()) if path in documents else ()


def _conda(documents: dict[str, Document], path: str) -> CondaPackage | None:
    return conda_package(documents[path].text()) if path in documents else None
