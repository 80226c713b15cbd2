"""Source that needs no existing index: plugins by PyPI classifier, manifests from wheels, packages from conda-forge.

A project is listed if its newest release has a wheel with a public manifest.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from xmlrpc import client as xmlrpc

import msgspec
from msgspec import Struct, field
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

from update_server.index.model import NAPARI_PARTS, Package, parse_version
from update_server.index.snapshot import Document, Index
from update_server.index.sources.fetching import Fetcher, UpstreamError
from update_server.index.sources.parsing import commands_of, conda_package, is_version
from update_server.index.sources.projects import (
    Progress,
    Reader,
    ReadProject,
    assemble_index,
    error_text,
    read_all,
    valid_names,
)
from update_server.index.sources.wheels import UnusableWheelError, WheelReader
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


_decode_project = msgspec.json.Decoder(_PyPIProject).decode  # at import: see parsing.py


class _ProjectEntry(Struct, frozen=True):
    """A project's part of the lists. ``summary``: None if the project is not listed."""

    name: str
    version: str
    versions: list[str]
    summary: dict[str, Any] | None = None
    readers: tuple[tuple[str, ...], ...] = ()
    error: str | None = None


async def read_index(
    fetcher: Fetcher, upstreams: Upstreams, previous: Index | None, now: datetime, progress: Progress
) -> Index:
    """Read a new index. Raises UpstreamError if PyPI does not list the projects."""
    reader = Reader(fetcher, upstreams, previous)
    names, skipped = valid_names(await _names(fetcher, upstreams), previous)
    reads: dict[NormalizedName, _ProjectEntry] = {}
    async with WheelReader() as wheels:
        source = _Source(reader, wheels, frozenset({*NAPARI_PARTS, *names}), reads)
        projects = await read_all({name: source.project(name) for name in names}, progress)
    return await assemble_index(
        reader,
        projects,
        lambda packages: _lists(packages, reads, previous),
        now,
        has_conda=True,
        skipped=skipped,
        refused_wheels=source.refused_wheels,
    )


async def _names(fetcher: Fetcher, upstreams: Upstreams) -> list[str]:
    call = xmlrpc.dumps(([CLASSIFIER],), "browse").encode()
    answer = await fetcher.post(f"{upstreams.pypi}/pypi", call, "text/xml")
    try:
        parameters, _ = xmlrpc.loads(answer)
        pairs: Any = parameters[0]
        found = {canonicalize_name(str(name)) for name, _ in pairs}
    except Exception as error:  # xmlrpc raises anything
        raise UpstreamError(f"{upstreams.pypi}/pypi: the answer is not a list of projects: {error}") from error
    if not found:
        raise UpstreamError(f"{upstreams.pypi}/pypi: no project has the classifier {CLASSIFIER!r}")
    return sorted(found)


class _Source:
    """Reads projects, and collects their entries for the lists in ``reads``."""

    def __init__(
        self, reader: Reader, wheels: WheelReader, conda_names: frozenset[str], reads: dict[NormalizedName, _ProjectEntry]
    ) -> None:
        self.refused_wheels: dict[str, str] = {}
        self._reader = reader
        self._wheels = wheels
        self._conda_names = conda_names
        self._reads = reads

    async def project(self, name: str) -> ReadProject:
        """Read a project; on an error, return its previous entry."""
        key, reader = canonicalize_name(name), self._reader
        paths = {kind: f"/api/{kind}/{key}" for kind in ("pypi", "manifest", "conda")}
        try:
            page, etag = await reader.page(key)
            described = await reader.document(paths["pypi"], f"{reader.upstreams.pypi}/pypi/{key}/json")
            if described is None:
                raise UpstreamError("PyPI has no metadata for it")
            project, versions = await asyncio.to_thread(_parse_project, described)
            documents = {paths["pypi"]: described}
            try:
                content, documents[paths["manifest"]] = await self._manifest(project, paths["manifest"])
            except UnusableWheelError as error:
                self._reads[key] = _ProjectEntry(key, project.info.version, versions, error=str(error))
                return ReadProject(None, etag, documents)
            on_conda = await reader.document(paths["conda"], f"{reader.upstreams.conda}/package/conda-forge/{key}")
            conda = await asyncio.to_thread(conda_package, on_conda.text(), self._conda_names) if on_conda else None
            if on_conda is not None:
                documents[paths["conda"]] = on_conda
            commands = await asyncio.to_thread(commands_of, documents[paths["manifest"]].text())
            package = Package(key, key, project.info.version, page.releases, commands, conda)
        except Exception as error:  # one project must not stop the refresh
            stale = reader.earlier(key, list(paths.values()), error_text(error))
            if (earlier := stale.package) is not None:
                self._reads[key] = _ProjectEntry(
                    earlier.name, earlier.version, [release.version for release in earlier.releases]
                )
            return stale
        is_public = bool(content.get("is_public"))
        summary = _summary(key, project.info, content, versions, conda) if is_public else None
        self._reads[key] = _ProjectEntry(key, project.info.version, versions, summary, tuple(map(tuple, content["readers"])))
        return ReadProject(package if is_public else None, etag, documents, None, page.metadata_urls, page.skipped)

    async def _manifest(self, project: _PyPIProject, path: str) -> tuple[dict[str, Any], Document]:
        """Read the manifest from the newest wheel, once per digest."""
        wheel = next((file for file in project.urls if file.filename.endswith(".whl")), None)
        if wheel is None:
            raise UnusableWheelError("its newest release has no wheel, and an sdist would have to be built")
        digest = wheel.digests.get("sha256", wheel.url)
        previous = self._reader.previous
        if previous is not None and digest in previous.refused_wheels:
            self.refused_wheels[digest] = previous.refused_wheels[digest]
            raise UnusableWheelError(self.refused_wheels[digest])
        earlier = previous.documents.get(path) if previous else None
        if earlier is not None and earlier.etag is not None and earlier.etag.startswith(f"{digest} "):
            return msgspec.json.decode(earlier.etag.removeprefix(f"{digest} ")), earlier
        answer = await self._reader.fetcher.get(wheel.url, accept="*/*", is_json=False)
        if answer is None or answer.text is None:
            raise UpstreamError(f"{wheel.url}: not found")
        try:
            content = await self._wheels.read(answer.text)
        except UnusableWheelError as error:
            self.refused_wheels[digest] = str(error)
            raise
        said = {
            "is_public": content.is_public,
            "display_name": content.display_name,
            "readers": content.readers,
            **content.metadata,
        }
        return said, await asyncio.to_thread(Document.of, content.manifest, f"{digest} {msgspec.json.encode(said).decode()}")


def _parse_project(document: Document) -> tuple[_PyPIProject, list[str]]:
    """Return a project and its versions, newest first. Raises UpstreamError."""
    project = _decode_project(document.text())
    if not is_version(project.info.version):
        raise UpstreamError("PyPI gives no valid version")
    return project, _in_descending_order([version for version, files in project.releases.items() if files])


def _summary(key: str, info: _Info, content: Mapping[str, Any], versions: list[str], conda: Any) -> dict[str, Any]:
    """Return the summary of a project, with the keys and order of api.napari.org."""
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


def _lists(
    packages: tuple[Package, ...], reads: Mapping[NormalizedName, _ProjectEntry], previous: Index | None
) -> dict[str, Document]:
    """Return the lists in the format of api.napari.org; stale projects keep their entries."""
    summaries = {item["normalized_name"]: item for item in _earlier(previous, "/api/extended_summary", list[dict[str, Any]])}
    summaries |= {key: read.summary for key, read in reads.items() if read.summary}
    fresh = {key for key, read in reads.items() if read.summary}
    listed = {package.key for package in packages}
    before = _earlier(previous, "/api/readers", dict[str, list[str]]) or {}
    readers = {pattern: [name for name in names if name in listed - fresh] for pattern, names in dict(before).items()}
    for package in packages:
        if package.key in fresh:
            for pattern in sorted({pattern for patterns in reads[package.key].readers for pattern in patterns}):
                readers.setdefault(pattern, []).append(package.name)
    texts: dict[str, Any] = {
        "/api/plugins": {package.name: package.version for package in packages},
        "/api/extended_summary": [summaries[package.key] for package in packages if package.key in summaries],
        "/api/conda": {package.name: f"conda-forge/{package.conda.name}" if package.conda else None for package in packages},
        "/api/readers": {pattern: sorted(names) for pattern, names in sorted(readers.items()) if names},
        "/classifiers.json": {
            "active": {read.name: {"name": read.name, "pypi_versions": read.versions} for _, read in sorted(reads.items())},
            "withdrawn": {},
            "deleted": {},
        },
        "/errors.json": {read.name: {"version": read.version, "error": read.error} for read in reads.values() if read.error},
    }
    return {path: Document.of(msgspec.json.encode(value)) for path, value in texts.items()}


def _earlier(previous: Index | None, path: str, kind: Any) -> Any:
    document = previous.documents.get(path) if previous else None
    return msgspec.json.decode(document.text(), type=kind) if document else []


def _in_descending_order(versions: list[str]) -> list[str]:
    """Sort versions, newest first and invalid ones last."""

    def place(text: str) -> tuple[bool, Version]:
        version = parse_version(text)
        return version is not None, version or Version("0")

    return sorted(versions, key=place, reverse=True)
