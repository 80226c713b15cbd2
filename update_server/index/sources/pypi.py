"""Stands alone: finds plugins by their classifier on PyPI, reads their manifests from wheels, and asks conda-forge by itself.

So the service can replace today's index altogether. A project is listed if its newest release has a wheel with a manifest that
wants to be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from xmlrpc import client as xmlrpc

import msgspec
from msgspec import Struct, field
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import InvalidVersion, Version

from update_server.index.model import Package
from update_server.index.snapshot import Document, Index
from update_server.index.sources.fetching import Fetcher, UpstreamError
from update_server.index.sources.parsing import commands_of, conda_package
from update_server.index.sources.reading import Progress, Reader, ReadProject, as_index, completed, in_words, read_all
from update_server.index.sources.wheels import UnusableWheelError, read_wheel
from update_server.settings import Upstreams

CLASSIFIER = "Framework :: napari"


class _File(Struct):
    filename: str
    url: str
    digests: dict[str, str] = field(default_factory=dict)


class _Info(Struct):
    name: str
    version: str
    summary: str | None = None
    author: str | None = None
    license: str | None = None
    license_expression: str | None = None
    home_page: str | None = None
    project_urls: dict[str, str] | None = None


class _PyPIProject(Struct):
    info: _Info
    urls: list[_File] = field(default_factory=list)
    releases: dict[str, list[msgspec.Raw]] = field(default_factory=dict)


class _Read(Struct, frozen=True):
    """A project as read, and what the lists say of it: None as summary where it is not listed, then with the error."""

    name: str
    version: str
    versions: list[str]
    summary: dict[str, Any] | None = None
    readers: tuple[tuple[str, ...], ...] = ()
    error: str | None = None


async def read_index(
    fetcher: Fetcher, upstreams: Upstreams, previous: Index | None, now: datetime, progress: Progress
) -> Index:
    """Return a whole new index, as of ``now``. Raises UpstreamError where PyPI does not tell which projects there are."""
    reader = Reader(fetcher, upstreams, previous)
    names = await _names(fetcher, upstreams)
    told: dict[NormalizedName, _Read] = {}
    projects = await read_all({name: _project(reader, name, told) for name in names}, progress)
    facts, projects, trouble = await completed(reader, projects, now, has_conda=True)
    return as_index(facts, projects, _lists(facts.packages, told, previous), trouble)


async def _names(fetcher: Fetcher, upstreams: Upstreams) -> list[str]:
    """The projects that carry the classifier, by normalized name."""
    call = xmlrpc.dumps(([CLASSIFIER],), "browse").encode()
    answer = await fetcher.post(f"{upstreams.pypi}/pypi", call, "text/xml")
    try:
        parameters, _ = xmlrpc.loads(answer)
        pairs: Any = parameters[0]
        found = {canonicalize_name(str(name)) for name, _ in pairs}
    except Exception as error:  # the parser raises whatever it meets
        raise UpstreamError(f"{upstreams.pypi}/pypi: gave no list of projects: {error}") from error
    if not found:
        raise UpstreamError(f"{upstreams.pypi}/pypi: knows no project with the classifier {CLASSIFIER!r}")
    return sorted(found)


async def _project(reader: Reader, name: str, told: dict[NormalizedName, _Read]) -> ReadProject:
    """Read a project, and write down in ``told`` what the lists say of it. Never raises: a failure makes it stale."""
    key = canonicalize_name(name)
    paths = {kind: f"/api/{kind}/{key}" for kind in ("pypi", "manifest", "conda")}
    try:
        page, etag = await reader.page(key)
        described = await reader.document(paths["pypi"], f"{reader.upstreams.pypi}/pypi/{key}/json")
        if described is None:
            raise UpstreamError("PyPI does not describe it")
        project = msgspec.json.decode(described.text(), type=_PyPIProject)
        documents = {paths["pypi"]: described}
        versions = _in_descending_order([version for version, files in project.releases.items() if files])
        try:
            content, documents[paths["manifest"]] = await _manifest(reader, project, paths["manifest"])
        except UnusableWheelError as error:
            told[key] = _Read(key, project.info.version, versions, error=str(error))
            return ReadProject(None, etag, documents)
        on_conda = await reader.document(paths["conda"], f"{reader.upstreams.conda}/package/conda-forge/{key}")
        conda = conda_package(on_conda.text()) if on_conda else None
        if on_conda is not None:
            documents[paths["conda"]] = on_conda
        package = Package(
            key, key, project.info.version, page.releases, commands_of(documents[paths["manifest"]].text()), conda
        )
    except Exception as error:  # one project must never stop the reading
        stale = reader.earlier(key, list(paths.values()), in_words(error))
        if stale.package is not None:
            told[key] = _Read(stale.package.name, stale.package.version, [r.version for r in stale.package.releases])
        return stale
    is_public = bool(content.get("is_public"))
    summary = _summary(key, project.info, content, versions, conda) if is_public else None
    told[key] = _Read(key, project.info.version, versions, summary, tuple(map(tuple, content["readers"])))
    return ReadProject(package if is_public else None, etag, documents, None, page.metadata_urls, page.skipped)


async def _manifest(reader: Reader, project: _PyPIProject, path: str) -> tuple[dict[str, Any], Document]:
    """What the newest release's wheel says, and its manifest as a text; read once for each wheel, told apart by its digest."""
    wheel = next((file for file in project.urls if file.filename.endswith(".whl")), None)
    if wheel is None:
        raise UnusableWheelError("its newest release has no wheel, and an sdist would have to be built")
    digest = wheel.digests.get("sha256", wheel.url)
    earlier = reader.previous.documents.get(path) if reader.previous else None
    if earlier is not None and earlier.etag is not None and earlier.etag.startswith(f"{digest} "):
        return msgspec.json.decode(earlier.etag.removeprefix(f"{digest} ")), earlier
    answer = await reader.fetcher.get(wheel.url, accept="*/*", is_json=False)
    if answer is None or answer.text is None:
        raise UpstreamError(f"{wheel.url}: not found")
    content = await asyncio.to_thread(read_wheel, answer.text)
    said = {
        "is_public": content.is_public,
        "display_name": content.display_name,
        "readers": content.readers,
        "author": content.metadata.get("author"),
        "license": content.metadata.get("license") or content.metadata.get("license_expression"),
        "home_page": content.metadata.get("home_page"),
        "project_url": [f"{label}, {url}" for label, url in content.metadata.get("project_urls", {}).items()] or None,
    }
    return said, Document.of(content.manifest, f"{digest} {msgspec.json.encode(said).decode()}")


def _summary(key: str, info: _Info, content: Mapping[str, Any], versions: list[str], conda: Any) -> dict[str, Any]:
    """A project in ``extended_summary``, with today's keys in their order."""
    on_conda = list(dict.fromkeys(file.version for file in reversed(conda.files))) if conda else []
    urls = [f"{label}, {url}" for label, url in (info.project_urls or {}).items() if label != "Homepage"]
    return {
        "normalized_name": key,
        "name": info.name,
        "version": info.version,
        "display_name": content["display_name"] or info.name,
        "summary": info.summary,
        "author": info.author or content["author"],
        "license": content["license"] or info.license_expression or info.license,
        "home_page": info.home_page or content["home_page"],
        "project_url": content["project_url"] or urls or None,
        "pypi_versions": versions,
        "conda_versions": on_conda,
    }


def _lists(packages: tuple[Package, ...], told: Mapping[NormalizedName, _Read], previous: Index | None) -> dict[str, Document]:
    """The texts about all projects, as today's index has them; of what was not read anew, as the index before did."""
    summaries = {item["normalized_name"]: item for item in _earlier(previous, "/api/extended_summary", list[dict[str, Any]])}
    summaries |= {key: read.summary for key, read in told.items() if read.summary}
    anew = {key for key, read in told.items() if read.summary}
    listed = {package.key for package in packages}
    before = _earlier(previous, "/api/readers", dict[str, list[str]]) or {}
    readers = {pattern: [name for name in names if name in listed - anew] for pattern, names in dict(before).items()}
    for package in packages:
        if package.key in anew:
            for pattern in sorted({pattern for patterns in told[package.key].readers for pattern in patterns}):
                readers.setdefault(pattern, []).append(package.name)
    texts: dict[str, Any] = {
        "/api/plugins": {package.name: package.version for package in packages},
        "/api/extended_summary": [summaries[package.key] for package in packages if package.key in summaries],
        "/api/conda": {package.name: f"conda-forge/{package.conda.name}" if package.conda else None for package in packages},
        "/api/readers": {pattern: sorted(names) for pattern, names in sorted(readers.items()) if names},
        "/classifiers.json": {
            "active": {read.name: {"name": read.name, "pypi_versions": read.versions} for _, read in sorted(told.items())},
            "withdrawn": {},
            "deleted": {},
        },
        "/errors.json": {read.name: {"version": read.version, "error": read.error} for read in told.values() if read.error},
    }
    return {path: Document.of(msgspec.json.encode(value)) for path, value in texts.items()}


def _earlier(previous: Index | None, path: str, kind: Any) -> Any:
    """A list of the index before, empty where there is none."""
    document = previous.documents.get(path) if previous else None
    return msgspec.json.decode(document.text(), type=kind) if document else []


def _in_descending_order(versions: list[str]) -> list[str]:
    """Versions, the newest first; those that PEP 440 can't read come last."""

    def place(text: str) -> tuple[bool, Version]:
        try:
            return True, Version(text)
        except InvalidVersion:
            return False, Version("0")

    return sorted(versions, key=place, reverse=True)
