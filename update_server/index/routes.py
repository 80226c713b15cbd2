"""The index over HTTP: `FilesFirst` serves files; handlers answer queries and requests for missing files."""

from functools import lru_cache
from typing import Annotated, Any

import msgspec
from litestar import HttpMethod, Request, Response, route
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import PathParameter, QueryParameter
from litestar.types import ASGIApp, HTTPResponseBodyEvent, Receive, Scope, Send
from napari_update_hook.table import CHANNELS
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from update_server.index.answers import VARY, Question, Updates, versions_of_user_agent
from update_server.index.files import COVERAGE, HEADERS, PLUGINS, SUMMARY, TABLES, badge_of
from update_server.index.pythons import PythonVersion, UnknownPythonError
from update_server.index.snapshot import Origin
from update_server.index.table import instant_text
from update_server.problems import Problem, bad_query
from update_server.representations import Body, matches, respond
from update_server.services import RETRY_AFTER_S, Services

READ_METHODS = [HttpMethod.GET, HttpMethod.HEAD]
HUB_HOST = b"api.napari-hub.org"
"""Host that napari's plugin template links to: its ``/shields/affinder`` is ``/api/shields/affinder`` here."""

FILTERABLE = {"/api/plugins", "/index.json", "/api/extended_summary", "/extended_summary.json"}
"""Paths whose answer can be filtered by version."""

_NO_BODY: HTTPResponseBodyEvent = {"type": "http.response.body", "body": b"", "more_body": False}

Name = Annotated[str, PathParameter(description="name of a package, in any spelling (PEP 503)", max_length=214)]
Python = Annotated[str | None, QueryParameter(name="python", description="version of CPython 3, such as 3.11 or 3.11.4")]
Napari = Annotated[str | None, QueryParameter(name="napari", description="napari version that must be supported")]
Channel = Annotated[str, QueryParameter(name="channel", description="where packages come from: pypi or conda-forge")]
Form = Annotated[str, QueryParameter(name="format", description="json; csv: current counts; months-csv: counts by month")]
AnyRequest = Request[Any, Any, Any]

LIST_ROUTES = (
    (list(TABLES.values()), "Update table of a channel", "One table for all Python and napari versions."),
    (["/api/conda", "/api/conda-map", "/conda.json"], "Names on conda-forge", "The conda-forge name of each plugin, or null."),
    (["/api/readers", "/readers.json"], "Plugins by file pattern", "The plugins that read each file pattern."),
    (["/classifiers.json"], "Projects with the napari classifier", "Active, withdrawn and deleted projects."),
    (
        ["/errors.json"],
        "Projects that could not be read",
        "Projects without a usable manifest and omitted data, with reasons.",
    ),
    (["/feeds/all.atom"], "New releases", "An Atom feed of all plugins' releases."),
)
PROJECT_ROUTES = (
    ("/api/pypi", "", "One project as PyPI describes it", "PyPI's JSON description of a project."),
    ("/api/manifest", "", "The npe2 manifest of a plugin", "The manifest of a plugin's newest release."),
    ("/api/conda", "", "One project on conda-forge", "anaconda.org's JSON description of a package on conda-forge."),
    ("/feeds", ".atom", "New releases of one plugin", "An Atom feed (`/feeds/affinder.atom`)."),
)


class FilesFirst:
    """ASGI application that serves index files itself: the framework's routing and middleware would double the time."""

    def __init__(self, services: Services, app: ASGIApp) -> None:
        self._index = services.index
        self._count = services.metrics.count_file
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loaded = self._index.loaded
        if scope["type"] != "http" or loaded is None:  # type: ignore[comparison-overlap]  # Litestar types it as an enum
            await self._app(scope, receive, send)
            return
        accept_encoding = if_none_match = b""
        for name, value in scope["headers"]:
            if name == b"accept-encoding":
                accept_encoding = value
            elif name == b"if-none-match":
                if_none_match = value
            elif name == b"host" and value == HUB_HOST and not _is_same_on_every_host(scope["path"]):
                scope["path"] = f"/api{scope['path']}"
                scope["raw_path"] = b"/api" + scope["raw_path"]
        path: str = scope["path"]
        method: str = scope["method"]  # type: ignore[typeddict-item]
        body = loaded.files.get(path) if method in ("GET", "HEAD") and path not in FILTERABLE else None
        if body is None:
            await self._app(scope, receive, send)
            return
        chosen = body.chosen(accept_encoding)
        if if_none_match and matches(body.etag_bytes, if_none_match):
            start, content = chosen.not_modified
        else:
            start, content = chosen.messages
        self._count(path, start["status"])
        await send(start)
        await send(content if method == "GET" else _NO_BODY)


def _is_same_on_every_host(path: str) -> bool:
    return path == "/" or path.startswith(("/api/", "/health/", "/static/"))


def index_handlers(services: Services) -> list[BaseRouteHandler]:
    def file_at(path: str) -> Body:
        """Return a file. Raises Problem 404, or 503 if the first refresh may add the file."""
        loaded = services.loaded()
        if (body := loaded.files.get(path)) is not None:
            return body
        if loaded.index.origin is Origin.SEED:
            raise Problem(
                503,
                f"Only the seed index of {instant_text(loaded.index.facts.as_of)} is loaded, which has no texts. The first "
                "refresh adds them: try again in a minute.",
                retry_after=RETRY_AFTER_S,
            )
        raise Problem(404, "The index has no such project.", pointer="name")

    def fixed(paths: list[str], summary: str, description: str) -> BaseRouteHandler:
        @route(paths, http_method=READ_METHODS, summary=summary, description=description)
        async def answer_file(request: AnyRequest) -> Response[bytes]:
            return respond(request, file_at(request.url.path))

        return answer_file

    def of_project(folder: str, ending: str, summary: str, description: str) -> BaseRouteHandler:
        @route(f"{folder}/{{name:str}}", http_method=READ_METHODS, summary=summary, description=description)
        async def answer_project(request: AnyRequest, name: Name) -> Response[bytes]:
            return respond(request, file_at(f"{folder}/{canonicalize_name(name.removesuffix(ending))}{ending}"))

        return answer_project

    async def listed(request: AnyRequest, question: Question | None, path: str) -> Response[bytes]:
        """Return a list, filtered by the versions in the query or in napari's User-Agent."""
        vary = "accept-encoding"
        if services.settings.versions_from_user_agent and request.url.path.startswith("/api/"):
            vary = VARY
            named = versions_of_user_agent(request.headers.get("user-agent", ""))
            if question is None and named is not None:
                question = Question("plugins" if path in PLUGINS else "extended_summary", *named)
        body = file_at(path)
        if question is not None:
            body = await services.loaded().answers.get(question)
        response = respond(request, body)
        response.headers["vary"] = vary
        return response

    @route(["/api/plugins", "/index.json"], http_method=READ_METHODS, summary="Newest version of each plugin")
    async def plugins(request: AnyRequest, python: Python = None, napari: Napari = None) -> Response[bytes]:
        """Return the newest version of each plugin by name; with ``python`` and ``napari``, the newest compatible one."""
        return await listed(request, _question("plugins", python, napari), PLUGINS[0])

    @route(
        ["/api/extended_summary", "/extended_summary.json"], http_method=READ_METHODS, summary="All plugins with their texts"
    )
    async def extended_summary(request: AnyRequest, python: Python = None, napari: Napari = None) -> Response[bytes]:
        """Return name, texts and versions of each plugin; with ``python`` and ``napari``, only compatible ones.

        An unmodified napari sends both in its User-Agent and gets the filtered answer.
        """
        return await listed(request, _question("extended_summary", python, napari), SUMMARY[0])

    @route(
        "/api/updates",
        http_method=READ_METHODS,
        summary="What your Python can install",
        responses={200: ResponseSpec(Updates, description="the newest compatible version of each package")},
    )
    async def updates(
        request: AnyRequest, python: Python = None, channel: Channel = "pypi", napari: Napari = None
    ) -> Response[bytes]:
        """Return the newest version of every package that a Python version can install, and why newer ones cannot.

        The answer is computed from the update table, which covers every Python version.
        """
        if not python:
            raise bad_query("python", "Give your Python version, such as python=3.11 or python=3.11.4.")
        if channel not in CHANNELS:
            raise bad_query("channel", f"{channel[:32]!r} is not a channel: choose {' or '.join(CHANNELS)}.")
        question = Question("updates", _python(python), _napari(napari), channel)
        return respond(request, await services.loaded().answers.get(question))

    @route(["/api/shields/{name:str}", "/shields/{name:str}"], http_method=READ_METHODS, summary="Badge data for shields.io")
    async def shields(request: AnyRequest, name: Name) -> Response[bytes]:
        """Return the data of a shields.io endpoint badge. For an unknown plugin, it says "unavailable"."""
        key = canonicalize_name(name)
        badge = badge_of(key if key in services.loaded().packages else None)
        return respond(request, Body(msgspec.json.encode(badge), headers=HEADERS))

    @route("/api/pythons", http_method=READ_METHODS, summary="How many plugins each Python version can install")
    async def pythons(request: AnyRequest, form: Form = "json") -> Response[bytes]:
        """Return what each Python version can install, and how many newest releases supported it each month."""
        if form not in COVERAGE:
            raise bad_query("format", f"{form[:16]!r} is not a format: choose {', '.join(COVERAGE)}.")
        return respond(request, file_at(COVERAGE[form]))

    return [
        plugins,
        extended_summary,
        updates,
        shields,
        pythons,
        *(fixed(*one) for one in LIST_ROUTES),
        *(of_project(*one) for one in PROJECT_ROUTES),
    ]


def _question(kind: Any, python: str | None, napari: str | None) -> Question | None:
    if python is None and napari is None:
        return None
    return Question(kind, None if python is None else _python(python), _napari(napari))


@lru_cache(maxsize=1024)
def _python(text: str) -> PythonVersion:
    try:
        return PythonVersion.parse(text)
    except UnknownPythonError as error:
        raise bad_query("python", f"{error}.") from error


def _napari(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return Version(text[:64]).public
    except InvalidVersion as error:
        raise bad_query("napari", f"{text[:32]!r} is not a napari version: write it like 0.6.1.") from error
