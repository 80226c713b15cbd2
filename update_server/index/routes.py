"""The endpoints of today's plugin index, under all their paths."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

import msgspec
from litestar import HttpMethod, Request, Response, get, route
from litestar.handlers import BaseRouteHandler
from litestar.params import PathParameter, QueryParameter
from packaging.utils import canonicalize_name

from update_server.index.bodies import instant_text
from update_server.index.fitting import python_named_by
from update_server.index.query import parsed_python
from update_server.index.snapshot import Document, Origin
from update_server.index.sources.reading import ADVISORIES
from update_server.problems import Problem
from update_server.representations import Body, respond
from update_server.services import RETRY_AFTER_S, Services

READ = [HttpMethod.GET, HttpMethod.HEAD]
Name = Annotated[str, PathParameter(description="name of a package, in any spelling (PEP 503)", max_length=214)]
Python = Annotated[str | None, QueryParameter(name="python", description="version of CPython 3: only what it can install")]
Asked = Request[Any, Any, Any]


class ShieldsBadge(msgspec.Struct):
    """What the endpoint badge of shields.io reads."""

    schemaVersion: int  # noqa: N815 - shields.io spells it so
    label: str
    message: str
    color: str


def index_handlers(services: Services) -> list[BaseRouteHandler]:
    """Return the handlers of the index."""

    def texts(path: str) -> Document:
        served = services.served()
        document = served.index.documents.get(path)
        if document is None and served.index.origin is Origin.SEED:
            raise Problem(
                503,
                f"Only bare facts of {instant_text(served.index.facts.as_of)} are here so far, no texts: the first refresh "
                "brings them. Try again in a minute.",
                retry_after=RETRY_AFTER_S,
            )
        if document is None:
            raise Problem(404, "The index has nothing under that name.", pointer="name")
        return document

    @route(
        ["/api/plugins", "/index.json"],
        http_method=READ,
        summary="Newest version of each plugin",
        media_type="application/json",
    )
    async def plugins(request: Asked, python: Python = None) -> Response[bytes]:
        """Return the newest version of each listed plugin by name: with ``python``, the newest that this Python can install."""
        served = services.served()
        if python is not None:
            return _answer(request, await services.made_list(served.fitting.plugins, parsed_python(python)))
        versions = {package.name: package.version for package in served.index.facts.packages}
        return _answer(request, Document.of(msgspec.json.encode(versions)))

    @route(["/api/extended_summary", "/extended_summary.json"], http_method=READ, summary="All plugins with their texts")
    async def extended_summary(request: Asked, python: Python = None) -> Response[bytes]:
        """Return name, texts and versions of each listed plugin: with ``python``, only what this Python can install.

        An unmodified napari names its Python in its User-Agent, and is answered as if it had asked with ``python``.
        """
        document = texts("/api/extended_summary")
        reads_user_agent = services.settings.python_from_user_agent and request.url.path.startswith("/api/")
        asked = parsed_python(python) if python is not None else None
        if asked is None and reads_user_agent:
            asked = python_named_by(request.headers.get("user-agent", ""))
        if asked is not None:
            document = await services.made_list(services.served().fitting.extended_summary, asked)
        return _answer(request, document, vary="accept-encoding, user-agent" if reads_user_agent else "accept-encoding")

    @route(["/api/conda", "/api/conda-map", "/conda.json"], http_method=READ, summary="Names on conda-forge")
    async def conda_map(request: Asked) -> Response[bytes]:
        """Return the conda-forge name of each listed plugin, null where it is not there."""
        return _answer(request, texts("/api/conda"))

    @route(["/api/readers", "/readers.json"], http_method=READ, summary="Plugins by file pattern that they read")
    async def readers(request: Asked) -> Response[bytes]:
        """Return the plugins that read each file pattern."""
        return _answer(request, texts("/api/readers"))

    @route("/classifiers.json", http_method=READ, summary="Projects with the napari classifier")
    async def classifiers(request: Asked) -> Response[bytes]:
        """Return the projects that carry the classifier ``Framework :: napari``, those withdrawn and those deleted."""
        return _answer(request, texts("/classifiers.json"))

    @route("/errors.json", http_method=READ, summary="Projects that could not be read")
    async def errors(request: Asked) -> Response[bytes]:
        """Return projects without a usable manifest, and those that the last refresh could not read, with the reason."""
        document = texts("/errors.json")
        stale, skipped = services.served().index.stale, services.served().index.skipped
        if not stale and not skipped:
            return _answer(request, document)
        known = msgspec.json.decode(document.text(), type=dict[str, Any])
        packages = services.served().packages
        for key, text in skipped.items():
            known.setdefault(key, {"version": packages[key].version, "error": f"passed over: {text}"})
        for key, entry in stale.items():
            if key == ADVISORIES:
                continue
            known[key] = {"version": packages[key].version if key in packages else None, "error": entry.error}
        return _answer(request, Document.of(msgspec.json.encode(known)))

    @route("/api/pypi/{name:str}", http_method=READ, summary="One project as PyPI describes it")
    async def pypi(request: Asked, name: Name) -> Response[bytes]:
        """Return PyPI's JSON of a project."""
        return _answer(request, texts(f"/api/pypi/{canonicalize_name(name)}"))

    @route("/api/manifest/{name:str}", http_method=READ, summary="The npe2 manifest of a plugin")
    async def manifest(request: Asked, name: Name) -> Response[bytes]:
        """Return the manifest of a plugin's newest release."""
        return _answer(request, texts(f"/api/manifest/{canonicalize_name(name)}"))

    @route("/api/conda/{name:str}", http_method=READ, summary="One project as conda-forge has it")
    async def conda(request: Asked, name: Name) -> Response[bytes]:
        """Return what anaconda.org knows of a project's package on conda-forge."""
        return _answer(request, texts(f"/api/conda/{canonicalize_name(name)}"))

    @get("/api/shields/{name:str}", summary="Badge data for shields.io")
    async def shields(name: Name) -> ShieldsBadge:
        """Return the JSON that the endpoint badge of shields.io reads."""
        package = services.served().packages[services.package_key(name)]
        return ShieldsBadge(1, "napari hub", f"{package.name} {package.version}", "#0074B8")

    return [plugins, extended_summary, conda_map, readers, classifiers, errors, pypi, manifest, conda, shields]


def _answer(request: Asked, document: Document, vary: str = "accept-encoding") -> Response[bytes]:
    return respond(request, _body(document, vary))


@lru_cache(maxsize=128)
def _body(document: Document, vary: str) -> Body:
    return Body.of_gzip(document.body, vary)
