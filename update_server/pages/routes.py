"""HTTP routes for pages, which are cached until the index or the public numbers change."""

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any

from litestar import HttpMethod, Litestar, Request, Response, get, route
from litestar.params import FromPath, QueryParameter
from napari_telemetry.weeks import ACCEPTED_AFTER_END
from napari_telemetry.wire import MEANING, TELEMETRY_LEVELS, fields_of
from sqlalchemy.exc import SQLAlchemyError

from aggregation.catalogue import CATALOGUE, NAPARI, PLUGIN, PYTHON, VERSION, Dimension, Entry
from aggregation.status import RETENTION
from aggregation.stores.certificates import CertificateStore
from aggregation.stores.records import Records
from update_server.index.coverage import coverage_of, release_support, shown_pythons
from update_server.index.downloads import current, read_downloads
from update_server.intake.routes import describe_levels
from update_server.openapi import description
from update_server.operations.health import index_health
from update_server.pages.charts import Chart, chart_of, downloads_chart, support_charts
from update_server.pages.example import example_batch
from update_server.pages.listing import Order, listing, plugin_of
from update_server.pages.promises import PROMISES
from update_server.pages.rendering import Context, Pages
from update_server.problems import Problem, bad_query
from update_server.representations import Body, respond
from update_server.services import Services
from update_server.statistics.answers import badge_markdown, badge_of
from update_server.statistics.routes import url_of

READ_METHODS = [HttpMethod.GET, HttpMethod.HEAD]
WEEKS_SHOWN = 52
RELEASES_SHOWN = 25

AnyRequest = Request[Any, Any, Any]
From = Annotated[str | None, QueryParameter(name="from")]
To = Annotated[str | None, QueryParameter(name="to")]
Search = Annotated[str, QueryParameter(name="q", max_length=100)]
Sort = Annotated[str, QueryParameter(name="sort")]


def page_handlers(services: Services, pages: Pages) -> list[Any]:
    async def people(entries: list[Entry], first: str | None, last: str | None, subject: str | None = None) -> Context:
        """Return the weeks, by default of the last year, and the charts. Raises Problem 400."""
        weeks = await services.aggregate.public_weeks()
        for name, week in (("from", first), ("to", last)):
            if week and week not in weeks:
                raise bad_query(name, f"{week[:16]!r} is not a published week.")
        if first and last and first > last:
            first, last = last, first
        last = last or (weeks[-1] if weeks else None)
        until = [week for week in weeks if last is None or week <= last]
        chosen = [week for week in until if week >= first] if first else until[-WEEKS_SHOWN:]
        return {"weeks": weeks, "chosen": chosen, "charts": await charts(entries, chosen, subject)}

    async def people_by_plugin(week: str | None) -> dict[str, int]:
        found = await services.aggregate.numbers(_installs(), {}, since=week, until=week) if week else []
        return {row.values[PLUGIN.name]: row.people for row in found}

    async def charts(entries: list[Entry], weeks: list[str], subject: str | None = None) -> list[Chart]:
        taken_back = await Records(services.aggregate.engine).retractions()
        newest_first: dict[Dimension, Sequence[str]] = {}
        if (loaded := services.index.loaded) is not None:
            newest_first = {NAPARI: loaded.tables.naparis[::-1], PYTHON: shown_pythons(loaded.tables)[::-1]}
            if subject is not None:
                newest_first[VERSION] = loaded.packages[subject].published_finals
        return [await chart_of(services.aggregate, entry, weeks, taken_back, subject, newest_first) for entry in entries]

    @route("/", http_method=READ_METHODS, include_in_schema=False)
    async def home(request: AnyRequest) -> Response[bytes]:
        here = pages.site(request)

        async def context() -> Context:
            health, reasons, _ = index_health(services)
            weeks = await services.aggregate.public_weeks()
            plain = [entry for entry in CATALOGUE if not entry.dimensions]
            return {
                "health": health,
                "reasons": reasons,
                "last_week": weeks[-1] if weeks else None,
                "figures": await charts(plain, weeks[-1:]),
                "charts": await charts([_by(NAPARI), _by(PYTHON)], weeks[-WEEKS_SHOWN:]),
                "plugins": await charts([_installs()], weeks[-WEEKS_SHOWN:]),
                "here": here,
            }

        return await pages.answer(request, here, "home.html", context)

    @route("/dashboard", http_method=READ_METHODS, include_in_schema=False)
    async def dashboard(request: AnyRequest, first: From = None, last: To = None) -> Response[bytes]:
        async def context() -> Context:
            shown = [entry for entry in CATALOGUE if not entry.fixed or not entry.by]
            about_each = [(entry.question, url_of(entry)) for entry in CATALOGUE if entry not in shown]
            return await people(shown, first, last) | {"about_each": about_each}

        return await pages.answer(request, (first, last), "dashboard.html", context)

    @route("/plugins", http_method=READ_METHODS, include_in_schema=False)
    async def plugins(request: AnyRequest, q: Search = "", sort: Sort = Order.INSTALLS.value) -> Response[bytes]:
        if sort not in list(Order):
            raise bad_query("sort", f"{sort[:16]!r} is not an order: choose {', '.join(Order)}.")
        order = Order(sort)

        async def context() -> Context:
            loaded = services.loaded()
            weeks = await services.aggregate.public_weeks()
            last = weeks[-1] if weeks else None
            rows = listing(loaded.index, loaded.tables, await people_by_plugin(last), q, order)
            return {"rows": rows, "q": q, "sort": order, "orders": list(Order), "last_week": last}

        return await pages.answer(request, (q.strip().lower(), sort), "plugins.html", context)

    @route("/plugins/{name:str}", http_method=READ_METHODS, include_in_schema=False)
    async def plugin(request: AnyRequest, name: FromPath[str], first: From = None, last: To = None) -> Response[bytes]:
        key, here = services.package_key(name), pages.site(request)
        if key == "napari":  # listed in the index, but not a plugin
            return Response(b"", status_code=302, headers={"location": "/dashboard"})

        async def context() -> Context:
            loaded = services.loaded()
            package, compatibility = loaded.packages[key], loaded.tables.compatibility["pypi"][key]
            releases = release_support(package, compatibility, shown_pythons(loaded.tables))
            entries = [entry for entry in CATALOGUE if entry.fixed and entry.dimensions[0] == PLUGIN]
            of_people = await people(entries, first, last, key)
            last_week = next(reversed(of_people["weeks"]), None)
            by_plugin = await people_by_plugin(last_week)
            mine = by_plugin.get(key)
            known = read_downloads(services.settings.data) if services.settings.downloads else {}
            downloads = current(known.get(key), services.clock.now())
            return of_people | {
                "downloads": await downloads_chart(services.aggregate, key, downloads, last_week) if downloads else None,
                "rank": (1 + sum(other > mine for other in by_plugin.values()), len(by_plugin)) if mine else None,
                "package": package,
                "about": plugin_of(loaded.index, loaded.tables, package),
                "releases": releases[:RELEASES_SHOWN],
                "more_releases": max(0, len(releases) - RELEASES_SHOWN),
                "badge": badge_of(mine),
                "badge_code": badge_markdown(here, key),
                "certificates": await CertificateStore(services.aggregate.engine).of_plugin(key),
            }

        return await pages.answer(request, (key, here, first, last), "plugin.html", context)

    @route("/pythons", http_method=READ_METHODS, include_in_schema=False)
    async def pythons(request: AnyRequest, first: From = None, last: To = None) -> Response[bytes]:
        async def context() -> Context:
            coverage = await asyncio.to_thread(coverage_of, services.loaded().index.facts, services.loaded().tables)
            of_people = await people([_by(PYTHON)], first, last)
            return of_people | {"coverage": coverage, "supported": support_charts(coverage)}

        return await pages.answer(request, (first, last), "pythons.html", context)

    @route("/privacy", http_method=READ_METHODS, include_in_schema=False)
    async def privacy(request: AnyRequest) -> Response[bytes]:
        def context() -> Context:
            settings = services.settings
            return {
                "levels": describe_levels(settings.levels, settings.level_hosts).levels,
                "examples": {str(level): example_batch(level) for level in TELEMETRY_LEVELS},
                "field_examples": {
                    str(level): {field.name: json.dumps(field.example) for field in fields_of(level)}
                    for level in TELEMETRY_LEVELS
                },
                "retention_days": RETENTION.days,
                "closes_after_days": ACCEPTED_AFTER_END.days,
                "contact": settings.contact,
                "catalogue": CATALOGUE,
                "meanings": {str(level): text for level, text in MEANING.items()},
                "promises": {key: (title, texts.values()) for (key, title), texts in PROMISES.items()},
            }

        async def with_inspections() -> Context:
            return context() | {"inspections": await Records(services.aggregate.engine).inspections()}

        try:
            return await pages.answer(request, None, "privacy.html", with_inspections)
        except SQLAlchemyError:  # the promises must stay readable
            page = pages.rendered("privacy.html", context() | {"inspections": None, "current": request.url.path})
            return respond(request, Body(page, "text/html", "no-store"))

    @get("/api/docs", include_in_schema=False)
    async def api_description(request: AnyRequest) -> Response[bytes]:
        async def context() -> Context:
            return {"operations": _operations(request.app)}

        return await pages.answer(request, None, "api.html", context)

    @get("/api/openapi.json", include_in_schema=False)
    async def openapi(request: AnyRequest) -> dict[str, Any]:
        return description(request.app)

    @route("/static/{path:path}", http_method=READ_METHODS, include_in_schema=False)
    async def asset(request: AnyRequest, path: FromPath[str]) -> Response[bytes]:
        found = await pages.asset(request, str(path).lstrip("/"))
        if found is None:
            raise Problem(404, "This file does not exist.")
        return found

    return [home, dashboard, plugins, plugin, pythons, privacy, api_description, openapi, asset]


def _by(dimension: Any) -> Entry:
    return next(entry for entry in CATALOGUE if entry.dimensions == (dimension,) and not entry.fixed)


def _installs() -> Entry:
    return next(entry for entry in CATALOGUE if entry.dimensions == (PLUGIN,))


def _operations(app: Litestar) -> list[dict[str, Any]]:
    """Return the operations for the template, sorted by path."""
    return [
        {"method": method.upper(), "path": path, "examples": _examples(operation), **operation}
        for path, item in sorted(description(app)["paths"].items())
        for method, operation in item.items()
        if method in ("get", "post")
    ]


def _examples(operation: dict[str, Any]) -> dict[str, str]:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    of_body = {f"Body, for example ({name})": one["value"] for name, one in content.get("examples", {}).items()}
    answer = operation.get("responses", {}).get("200", {}).get("content", {}).get("application/json", {})
    first = next(iter(answer.get("examples", {}).values()), None)
    of_answer = {"Answer, for example": first["value"]} if first else {}
    return {name: json.dumps(value, indent=2) for name, value in (of_body | of_answer).items()}
