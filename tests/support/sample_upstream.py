"""A sample plugin index and its upstream services, in memory or on loopback."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from packaging.utils import canonicalize_name


class RawTransport(httpx.MockTransport):
    """A mock transport whose response bodies are streams, as on a network."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if not response.is_stream_consumed:
            return response
        return httpx.Response(response.status_code, headers=response.headers, stream=httpx.ByteStream(response.content))


@dataclass(frozen=True)
class SampleFile:
    """A file on PyPI. ``tag``: the wheel tag, or None for an sdist."""

    requires_python: str | None = None
    tag: str | None = "py3-none-any"
    yanked: bool | str = False


@dataclass(frozen=True)
class SampleCondaFile:
    version: str
    depends: Sequence[str] = ()
    constrains: Sequence[str] = ()
    labels: Sequence[str] = ("main",)


@dataclass(frozen=True)
class SampleProject:
    """``releases``: files by version. ``uploaded``: upload dates by version. ``advisories``: affected versions by id.

    ``requires_dist``: requirements by version, served as JSON metadata.
    """

    name: str
    releases: Mapping[str, Sequence[SampleFile]]
    version: str = ""
    commands: Sequence[str] = ()
    conda: Sequence[SampleCondaFile] = ()
    conda_name: str = ""
    requires_dist: Mapping[str, Sequence[str]] = field(default_factory=dict)
    advisories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    uploaded: Mapping[str, str] = field(default_factory=dict)

    @property
    def newest(self) -> str:
        """Return ``version`` if it is set, else the last of ``releases``."""
        return self.version or next(reversed(list(self.releases)), "0")


PLUGINS = (
    SampleProject(
        "napari",
        {
            "0.5.6": [SampleFile(">=3.9")],
            "0.6.1": [SampleFile(">=3.9")],
            "0.7.1": [SampleFile(">=3.10")],
            "0.8.0": [SampleFile(">=3.11")],
        },
        commands=["napari.get_reader"],
        uploaded={"0.5.6": "2025-01-15", "0.6.1": "2025-05-30", "0.7.1": "2026-02-10", "0.8.0": "2026-09-01"},
    ),
    SampleProject(
        "affinder",
        {
            "0.4.0": [SampleFile(">=3.8")],
            "0.5.0rc1": [SampleFile(">=3.9")],
            "0.5.0": [SampleFile(">=3.9"), SampleFile(">=3.9", None)],
        },
        commands=["affinder.start_affinder"],
        conda=[SampleCondaFile("0.4.0", ["python >=3.8", "napari"]), SampleCondaFile("0.5.0", ["python >=3.10", "napari"])],
        uploaded={"0.4.0": "2025-03-01", "0.5.0rc1": "2026-05-01", "0.5.0": "2026-06-01"},
    ),
    SampleProject("napari-harpy", {"0.1.3": [SampleFile(">=3.12")]}, uploaded={"0.1.3": "2026-01-20"}),
    SampleProject(
        "micro_sam",
        {"1.5.0": [SampleFile(">=3.9")], "1.8.10": [SampleFile(">=3.11")]},
        conda=[SampleCondaFile("1.8.10", ["python >=3.11"])],
        conda_name="micro_sam",
    ),
    SampleProject("Some.Plugin", {"1.1.0": [SampleFile(yanked="broken wheel")], "1.2.0": [SampleFile()]}),
    SampleProject("compiled-plugin", {"2.0": [SampleFile(">=3.8", "cp39-cp39-manylinux_2_17_x86_64")]}),
)


@dataclass
class FakeUpstream:
    """A fake upstream. ``broken``: paths that return 500. ``parts``: PyPI projects that the index does not list."""

    projects: Sequence[SampleProject] = PLUGINS
    broken: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    is_down: bool = False
    parts: Sequence[SampleProject] = ()
    overrides: dict[str, bytes] = field(default_factory=dict)

    def answer(self, path: str) -> bytes | None:
        if path in self.overrides:
            return self.overrides[path]
        tables: dict[str, Any] = {
            "/api/plugins": {project.name: project.newest for project in self.projects},
            "/api/extended_summary": [self._summary(project) for project in self.projects],
            "/api/conda": {project.name: self._conda_name(project) for project in self.projects},
            "/api/readers": {"*.tif": ["affinder"]},
            "/classifiers.json": {"active": {project.name: {} for project in self.projects}, "withdrawn": {}, "deleted": {}},
            "/errors.json": {"some-library": {"version": "0.1", "error": "no entry point"}},
        }
        if path in tables:
            return json.dumps(tables[path]).encode()
        for project in (*self.projects, *self.parts):
            key = canonicalize_name(project.name)
            of_project: dict[str, Any] = {
                f"/api/pypi/{key}": {"info": {"name": project.name, "version": project.newest}},
                f"/api/manifest/{key}": {
                    "name": project.name,
                    "contributions": {"commands": [{"id": command, "title": command} for command in project.commands] or None},
                },
                f"/simple/{key}/": {"meta": {"api-version": "1.0"}, "name": key, "files": list(self._files(project))},
            }
            for version in project.releases:
                info = {"name": project.name, "version": version, "requires_dist": list(project.requires_dist.get(version, ()))}
                of_project[f"/pypi/{key}/{version}/json"] = {"info": info}
            for name, versions in project.advisories.items():
                affected = {"package": {"ecosystem": "PyPI", "name": project.name}, "versions": list(versions)}
                of_project[f"/v1/vulns/{name}"] = {"id": name, "affected": [affected]}
            if project.conda:
                of_project[f"/api/conda/{key}"] = self._conda(project)
            if path in of_project:
                return json.dumps(of_project[path]).encode()
        return None

    def answer_post(self, path: str, body: bytes) -> bytes | None:
        """Answer OSV's batch query."""
        if path != "/v1/querybatch":
            return None
        names = [query["package"]["name"] for query in json.loads(body)["queries"]]
        advisories = {canonicalize_name(project.name): list(project.advisories) for project in self.projects}
        return json.dumps(
            {"results": [{"vulns": [{"id": id_} for id_ in advisories.get(name, ())]} for name in names]}
        ).encode()

    def _summary(self, project: SampleProject) -> dict[str, Any]:
        key = canonicalize_name(project.name)
        return {
            "normalized_name": key,
            "name": project.name,
            "version": project.newest,
            "display_name": project.name,
            "summary": f"What {project.name} does",
            "author": "A. Uthor",
            "license": "BSD-3",
            "home_page": None,
            "project_url": None,
            "pypi_versions": list(project.releases)[::-1],
            "conda_versions": [file.version for file in project.conda],
        }

    def _conda_name(self, project: SampleProject) -> str | None:
        return f"conda-forge/{project.conda_name or canonicalize_name(project.name)}" if project.conda else None

    def _files(self, project: SampleProject) -> Iterator[dict[str, Any]]:
        stem = canonicalize_name(project.name).replace("-", "_")
        for version, files in project.releases.items():
            for file in files:
                filename = f"{stem}-{version}-{file.tag}.whl" if file.tag else f"{stem}-{version}.tar.gz"
                yield {
                    "filename": filename,
                    "url": f"/files/{filename}",
                    "hashes": {},
                    "requires-python": file.requires_python,
                    "yanked": file.yanked,
                    **({"upload-time": f"{project.uploaded[version]}T10:00:00.5Z"} if version in project.uploaded else {}),
                }

    def _conda(self, project: SampleProject) -> dict[str, Any]:
        return {
            "name": project.conda_name or canonicalize_name(project.name),
            "files": [
                {
                    "version": file.version,
                    "attrs": {"depends": list(file.depends), "constrains": list(file.constrains)},
                    "labels": list(file.labels),
                }
                for file in project.conda
            ],
        }

    def transport(self) -> RawTransport:
        """Return a transport that answers in memory, with ETags."""

        def handle(request: httpx.Request) -> httpx.Response:
            path = request.url.path
            self.requests.append(path)
            if self.is_down:
                raise httpx.ConnectError("no network", request=request)
            if path in self.broken:
                return httpx.Response(500)
            text = self.answer(path) if request.method == "GET" else self.answer_post(path, request.content)
            if text is None:
                return httpx.Response(404)
            etag = f'"{hash(text) & 0xFFFFFFFF:x}"'
            if request.headers.get("if-none-match") == etag:
                return httpx.Response(304)
            return httpx.Response(200, content=text, headers={"etag": etag, "content-type": "application/json"})

        return RawTransport(handle)

    @contextlib.contextmanager
    def served(self, port: int = 0) -> Iterator[str]:
        """Serve on loopback; yield the base URL."""
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._answer(self.path, upstream.answer_post(self.path, body))

            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                self._answer(path, None if path in upstream.broken else upstream.answer(path))

            def _answer(self, path: str, text: bytes | None) -> None:
                upstream.requests.append(path)
                self.send_response(500 if path in upstream.broken else 200 if text is not None else 404)
                simple = "application/vnd.pypi.simple.v1+json"
                self.send_header("Content-Type", simple if path.startswith("/simple/") else "application/json")
                self.send_header("Content-Length", str(len(text or b"")))
                self.end_headers()
                self.wfile.write(text or b"")

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
