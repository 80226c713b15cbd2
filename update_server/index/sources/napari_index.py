"""Source that reads an existing plugin index, and releases from PyPI."""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from packaging.utils import canonicalize_name

from update_server.index.model import NAPARI_PARTS, CondaPackage, Package
from update_server.index.snapshot import Document, Index
from update_server.index.sources.fetching import Fetcher, UpstreamError, gather_or_cancel
from update_server.index.sources.parsing import commands_of, conda_package, is_project_name, is_version, json_object
from update_server.index.sources.projects import (
    Progress,
    Reader,
    ReadProject,
    assemble_index,
    error_text,
    read_all,
    valid_names,
)
from update_server.settings import Upstreams

LISTS = ("/api/plugins", "/api/extended_summary", "/api/conda", "/api/readers", "/classifiers.json", "/errors.json")
"""Documents about all projects; only the first is required."""


async def read_index(
    fetcher: Fetcher, upstreams: Upstreams, previous: Index | None, now: datetime, progress: Progress
) -> Index:
    """Read a new index. Raises UpstreamError if the required list is missing."""
    reader = Reader(fetcher, upstreams, previous)
    read = dict(zip(LISTS, await gather_or_cancel(reader.document(path) for path in LISTS), strict=True))
    lists = {path: document for path, document in read.items() if document is not None}
    if "/api/plugins" not in lists:
        raise UpstreamError(f"{upstreams.index}/api/plugins: not found; is {upstreams.index} a plugin index?")
    versions, conda, classifiers = await asyncio.to_thread(_objects, lists)
    names, skipped = valid_names([name for name in versions if is_version(versions[name])], previous)
    if skipped:
        lists = await asyncio.to_thread(_without_bad_names, lists)
    states = (classifiers.get(state) for state in ("active", "withdrawn", "deleted"))
    known = {name for state in states for name in state or () if is_project_name(name)}
    unlisted, _ = valid_names(sorted(known - set(versions)), None)
    on_conda = {name: str(path).rpartition("/")[2] for name, path in conda.items() if path}
    conda_names = frozenset(map(canonicalize_name, (*NAPARI_PARTS, *names, *on_conda.values())))
    work = {name: _project(reader, name, str(versions[name]), conda_names if name in on_conda else None) for name in names} | {
        name: _unlisted(reader, name) for name in unlisted
    }
    projects = await read_all(work, progress)
    return await assemble_index(reader, projects, lambda _: lists, now, has_conda="/api/conda" in lists, skipped=skipped)


def _objects(lists: Mapping[str, Document]) -> list[Mapping[str, Any]]:
    return [
        json_object(lists[path].text()) if path in lists else {} for path in ("/api/plugins", "/api/conda", "/classifiers.json")
    ]


def _without_bad_names(lists: Mapping[str, Document]) -> dict[str, Document]:
    """Remove invalid names, so that clients do not receive them."""
    cleaned = dict(lists)
    for path in ("/api/plugins", "/api/conda", "/errors.json"):
        if path in lists:
            entries = json_object(lists[path].text())
            cleaned[path] = Document.of(msgspec.json.encode({name: entries[name] for name in entries if is_project_name(name)}))
    if (path := "/api/extended_summary") in lists:
        summaries = msgspec.json.decode(lists[path].text(), type=list[dict[str, Any]])
        cleaned[path] = Document.of(msgspec.json.encode([one for one in summaries if is_project_name(one.get("name"))]))
    return cleaned


async def _unlisted(reader: Reader, name: str) -> ReadProject:
    """Read only the texts of an unlisted project."""
    documents = {}
    for kind in ("pypi", "manifest", "conda"):
        path = f"/api/{kind}/{canonicalize_name(name)}"
        try:
            document = await reader.document(path)
        except Exception:  # one text must not stop the refresh
            document = reader.previous.documents.get(path) if reader.previous else None
        if document is not None:
            documents[path] = document
    return ReadProject(None, None, documents)


async def _project(reader: Reader, name: str, version: str, conda_names: frozenset[str] | None) -> ReadProject:
    """Read a project; on an error, return its previous entry. ``conda_names``: None if not on conda-forge."""
    key = canonicalize_name(name)
    paths = [f"/api/pypi/{key}", f"/api/manifest/{key}"] + ([f"/api/conda/{key}"] if conda_names is not None else [])
    try:
        page, etag = await reader.page(key)
        found = await gather_or_cancel(reader.document(path) for path in paths)
        documents = {path: document for path, document in zip(paths, found, strict=True) if document is not None}
        commands, conda = await asyncio.to_thread(_parsed, documents, key, conda_names)
        package = Package(key, name, version, page.releases, commands, conda)
    except Exception as error:  # one project must not stop the refresh
        return reader.earlier(key, paths, error_text(error))
    return ReadProject(package, etag, documents, metadata_urls=page.metadata_urls, skipped=page.skipped)


def _parsed(
    documents: Mapping[str, Document], key: str, conda_names: frozenset[str] | None
) -> tuple[tuple[str, ...], CondaPackage | None]:
    manifest, conda = documents.get(f"/api/manifest/{key}"), documents.get(f"/api/conda/{key}")
    return (
        commands_of(manifest.text()) if manifest else (),
        conda_package(conda.text(), conda_names) if conda and conda_names is not None else None,
    )
