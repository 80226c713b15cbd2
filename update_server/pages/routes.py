"""The pages, and the headers that keep them what they are: nothing from anywhere else, no script that we did not ship."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, get
from litestar.datastructures import CacheControlHeader
from litestar.handlers import BaseRouteHandler
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Template
from litestar.static_files import create_static_files_router
from litestar.template.config import TemplateConfig
from napari_update_hook.weeks import CLOSES_AFTER
from napari_update_hook.wire import TELEMETRY_LEVELS, Level

from aggregation.catalogue import CATALOGUE, topics
from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO
from aggregation.retention import RETENTION
from aggregation.stores.records import Records, public_retraction
from update_server import __version__
from update_server.intake.routes import described_levels
from update_server.openapi import description
from update_server.operations.health import index_health
from update_server.pages.example import example_batch
from update_server.services import Services
from update_server.statistics.routes import url_of

FOLDER = Path(str(files("update_server.pages")))

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "interest-cohort=()",
}


def template_config() -> TemplateConfig[JinjaTemplateEngine]:
    """Return where the templates are, and how they address an asset: by its content, so that it may be kept for ever."""
    engine = JinjaTemplateEngine(FOLDER / "templates")
    engine.engine.globals["asset"] = asset_url
    engine.engine.globals["version"] = __version__
    engine.engine.trim_blocks = engine.engine.lstrip_blocks = True
    return TemplateConfig(instance=engine)


def asset_url(name: str) -> str:
    """Return the address of a file in the static folder, which changes with its content."""
    return f"/static/{name}?v={hashlib.sha256((FOLDER / 'static' / name).read_bytes()).hexdigest()[:12]}"


def page_handlers(services: Services) -> list[Any]:
    """Return the handlers of the pages and of their assets."""

    @get("/", include_in_schema=False)
    async def home(request: Request[Any, Any, Any]) -> Template:
        health, reasons, _ = index_health(services)
        weeks = await services.aggregate.public_weeks()
        context = {
            "health": health,
            "reasons": reasons,
            "last_week": weeks[-1] if weeks else None,
            "here": str(request.base_url).rstrip("/"),
        }
        return Template("home.html", context=context)

    @get("/privacy", include_in_schema=False)
    async def privacy() -> Template:
        settings = services.settings
        return Template(
            "privacy.html",
            context={
                "levels": described_levels(settings.levels, settings.level_hosts).levels,
                "examples": {str(level): example_batch(level) for level in TELEMETRY_LEVELS},
                "retention_days": RETENTION.days,
                "closes_after_days": CLOSES_AFTER.days,
                "listed_from": LISTED_FROM,
                "rounded_down_to": ROUNDED_DOWN_TO,
                "contact": settings.contact,
                "catalogue": CATALOGUE,
                "none": Level.NONE,
                "inspections": await Records(services.aggregate.engine).inspections(),
            },
        )

    @get("/dashboard", include_in_schema=False)
    async def dashboard() -> Template:
        weeks = await services.aggregate.public_weeks()
        last = weeks[-1] if weeks else None
        groups = []
        taken_back = await Records(services.aggregate.engine).retractions()
        for topic, entries in topics().items():
            tables = []
            for entry in entries:
                free = not entry.fixed or not entry.by
                page = await services.aggregate.rows(entry, {}, since=last, until=last, limit=50) if last and free else None
                mine = [public_retraction(one) for one in taken_back if one.entry == entry.id]
                tables.append({"entry": entry, "url": url_of(entry), "page": page, "retractions": mine})
            groups.append({"topic": topic, "tables": tables})
        context = {"last_week": last, "groups": groups, "listed_from": LISTED_FROM, "rounded_down_to": ROUNDED_DOWN_TO}
        return Template("dashboard.html", context=context)

    @get("/api/docs", include_in_schema=False)
    async def api_description(request: Request[Any, Any, Any]) -> Template:
        return Template("api.html", context={"operations": _operations(request.app)})

    @get("/api/openapi.json", include_in_schema=False)
    async def openapi(request: Request[Any, Any, Any]) -> dict[str, Any]:
        return description(request.app)

    handlers: list[BaseRouteHandler] = [home, privacy, dashboard, api_description, openapi]
    for_ever = CacheControlHeader(public=True, max_age=365 * 86400, immutable=True)
    assets = create_static_files_router(
        path="/static", directories=[FOLDER / "static"], cache_control=for_ever, include_in_schema=False
    )
    return [*handlers, assets]


def _operations(app: Litestar) -> list[dict[str, Any]]:
    """The operations of the OpenAPI description, in the order of their paths, as the template wants them."""
    return [
        {"method": method.upper(), "path": path, "examples": _examples(operation), **operation}
        for path, item in sorted(description(app)["paths"].items())
        for method, operation in item.items()
        if method in ("get", "post")
    ]


def _examples(operation: dict[str, Any]) -> dict[str, str]:
    """The examples of an operation's body, as indented JSON by name."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    return {name: json.dumps(example["value"], indent=2) for name, example in content.get("examples", {}).items()}
