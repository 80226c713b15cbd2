"""Pages and static files, rendered or compressed once and sent from memory."""

import asyncio
import hashlib
import mimetypes
import re
from collections.abc import Awaitable, Callable, Hashable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from litestar import Request, Response
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.template.config import TemplateConfig
from markupsafe import Markup, escape

from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO
from aggregation.settings import is_loopback
from update_server import __version__
from update_server.index.table import instant_text
from update_server.problems import answer_problem, as_problem
from update_server.representations import Body, respond
from update_server.services import Services

FOLDER = Path(str(files("update_server.pages")))
STATIC = FOLDER / "static"
VENDORED = {"vendor/echarts-6.1.0.common.min.js": "61f13280aba3161f77fc801bf5f9c786f55f10432153a0683fc5cc0700b013d5"}
"""Third-party files with their SHA-256."""
FOR_EVER = "public, max-age=31536000, immutable"
ONE_MINUTE = "public, max-age=60"

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "interest-cohort=()",
    "cross-origin-opener-policy": "same-origin",
}

Context = dict[str, Any]
AnyRequest = Request[Any, Any, Any]


@cache
def asset_url(name: str) -> str:
    """Return the URL of a static file; its version changes with the content."""
    return f"/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


class Pages:
    """Renders pages and serves static files. ``config``: the template configuration for Litestar."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._assets: dict[str, Body] = {}
        engine = JinjaTemplateEngine(FOLDER / "templates")
        self._templates = engine.engine
        self._templates.globals |= {
            "asset": asset_url,
            "version": __version__,
            "listed_from": LISTED_FROM,
            "rounded_down_to": ROUNDED_DOWN_TO,
            "echarts": next(iter(VENDORED)),
            "is_demo": services.settings.is_demo,
        }
        self._templates.trim_blocks = self._templates.lstrip_blocks = True
        self._templates.filters |= {"thousands": lambda number: f"{number:,}", "inline_markup": inline_markup}
        self.config: TemplateConfig[JinjaTemplateEngine] = TemplateConfig(instance=engine)

    async def answer(
        self, request: AnyRequest, key: Hashable, template: str, context: Callable[[], Awaitable[Context]]
    ) -> Response[bytes]:
        """Return a page, cached by ``key``: all values that it depends on besides the index and the public numbers."""

        async def make() -> Body:
            loaded = self._services.index.loaded
            as_of = instant_text(loaded.index.facts.as_of) if loaded is not None else None
            values = await context() | {"current": request.url.path, "index_as_of": as_of}
            return Body(await asyncio.to_thread(self.rendered, template, values), "text/html", ONE_MINUTE)

        return respond(request, await self._services.page_cache.body((template, key), make))

    def site(self, request: AnyRequest) -> str:
        """Return the public URL of the site, without trailing slash."""
        named = self._services.settings.aggregation.public_url
        return str(request.base_url).rstrip("/") if is_loopback(urlsplit(named).hostname) else named

    async def asset(self, request: AnyRequest, name: str) -> Response[bytes] | None:
        """Return a static file, or None if it does not exist."""
        if "\0" in name:
            return None
        path = (STATIC / name).resolve()
        if not path.is_relative_to(STATIC.resolve()) or not path.is_file():
            return None
        if name not in self._assets:
            body = await asyncio.to_thread(_load_asset, path)
            await asyncio.to_thread(body.encode, quickly=True)
            self._assets.setdefault(name, body)
        response = respond(request, self._assets[name])
        if request.query_params.get("v") != asset_url(name).partition("?v=")[2]:  # a different version, or no version
            response.headers["cache-control"] = "no-cache"
        return response

    async def compress_assets(self) -> None:
        """Compress all static files; this takes seconds, in a thread."""
        for path in sorted(STATIC.rglob("*")):
            if path.is_file():
                self._assets[path.relative_to(STATIC).as_posix()] = await asyncio.to_thread(_load_compressed, path)

    def rendered(self, template: str, context: Context) -> bytes:
        return self._templates.get_template(template).render(**context).encode()

    def answer_error(self, request: AnyRequest, error: Exception) -> Response[bytes]:
        """Return an error as a page for browsers, otherwise as JSON."""
        wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(("/api/", "/health/"))
        if wants_page:
            problem = as_problem(error)
            content = self.rendered("problem.html", {"problem": problem.body})
            response = Response(content, status_code=problem.status, media_type="text/html", headers=problem.headers)
        else:
            response = answer_problem(request, error)
        response.headers.update(SECURITY_HEADERS)  # after_request does not run on errors
        return response


def inline_markup(text: str) -> Markup:
    """Escape text and convert backticks to code, asterisks to emphasis."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return Markup(re.sub(r"\*([^*]+)\*", r"<em>\1</em>", marked))  # noqa: S704 - escaped above


def _load_asset(path: Path) -> Body:
    return Body(path.read_bytes(), mimetypes.guess_type(path.name)[0] or "text/plain", FOR_EVER)


@cache
def _load_compressed(path: Path) -> Body:
    body = _load_asset(path)
    body.encode()
    return body
