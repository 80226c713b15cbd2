"""``GET /api/pythons``: how many plugins each Python can install, today and by month."""

from __future__ import annotations

import asyncio
import csv
import io
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from litestar import HttpMethod, Request, Response, route
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter
from msgspec import Struct

from update_server.index.bodies import instant_text
from update_server.index.coverage import MonthSupport, PythonSupport, pythons_supported, shown_pythons, support_by_month
from update_server.index.keeper import Served
from update_server.problems import bad_query
from update_server.representations import Body, respond
from update_server.services import Services

READ = [HttpMethod.GET, HttpMethod.HEAD]


class Coverage(Struct, frozen=True):
    """What the plugins of the index support. ``packages``: how many there are. ``months``: in the order of ``pythons``."""

    as_of: str
    packages: int
    pythons: list[str]
    supports: list[PythonSupport]
    months: list[MonthSupport]


class Shape(StrEnum):
    """How it is answered: all of it, or one table for spreadsheets."""

    JSON = "json"
    CSV = "csv"
    MONTHS_CSV = "months-csv"


Form = Annotated[str, QueryParameter(name="format", description="json; csv: today's counts; months-csv: the counts by month")]


def coverage_of(served: Served) -> Coverage:
    """Return what the plugins of an index support, napari itself left out. Takes some milliseconds for each hundred."""
    facts, classes = served.index.facts, served.bodies.channels["pypi"].classes
    listed = [package for package in facts.packages if package.key != "napari"]
    pythons = shown_pythons(facts)
    return Coverage(
        as_of=instant_text(facts.as_of),
        packages=len(listed),
        pythons=pythons,
        supports=pythons_supported(listed, classes, pythons),
        months=support_by_month(listed, classes, pythons, facts.as_of.date()),
    )


def coverage_handler(services: Services) -> BaseRouteHandler:
    """Return the handler."""

    @route("/api/pythons", http_method=READ, summary="How many plugins each Python can install")
    async def pythons(request: Request[Any, Any, Any], form: Form = "json") -> Response[bytes]:
        """Return for each Python which plugins it can install, and for each month how many newest releases fitted it."""
        if form not in list(Shape):
            raise bad_query("format", f"There is no format {form[:16]!r}: choose {', '.join(Shape)}.")
        shape = Shape(form)

        async def make() -> Body:
            coverage = await asyncio.to_thread(coverage_of, services.served())
            if shape is Shape.JSON:
                return Body(msgspec.json.encode(coverage))
            return Body(_table(coverage, shape).encode(), "text/csv")

        return respond(request, await services.cache.body(("pythons", shape), make))

    return pythons


def _table(coverage: Coverage, shape: Shape) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if shape is Shape.CSV:
        writer.writerow(["python", "newest_fits", "only_older_fits", "nothing_fits"])
        writer.writerows([one.python, len(one.newest), len(one.older), len(one.nothing)] for one in coverage.supports)
    else:
        writer.writerow(["day", "packages", *coverage.pythons])
        writer.writerows([one.day, one.packages, *one.fits] for one in coverage.months)
    return text.getvalue()
