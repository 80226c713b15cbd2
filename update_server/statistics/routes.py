"""The statistics API, generated from the catalogue: one path per topic, and ``by=`` for dimensions.

CORS allows every site to read it, because the numbers are public and the same for everyone.
"""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from litestar import HttpMethod, Request, Response, route
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, QueryParameter
from litestar.types import OperationIDCreator
from msgspec import Struct
from napari_telemetry.weeks import InvalidWeekError, start_of

from aggregation.catalogue import Entry, topics
from aggregation.export import MEDIA_TYPES, WRITERS, Format, numbers_table
from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO
from aggregation.stores.records import Records
from update_server.problems import bad_query
from update_server.representations import Body, respond
from update_server.services import Services
from update_server.statistics import answers
from update_server.statistics.answers import EntryDescription, Numbers, Offer, badge_of

PAGE_SIZE = 1000
MAX_ROWS = 10_000

READ_METHODS = [HttpMethod.GET, HttpMethod.HEAD, HttpMethod.OPTIONS]
CROSS_ORIGIN = {"access-control-allow-origin": "*", "access-control-expose-headers": "etag, link"}
PREFLIGHT = CROSS_ORIGIN | {
    "access-control-allow-methods": "GET, HEAD",
    "access-control-allow-headers": "if-none-match",
    "access-control-max-age": "86400",
}

AnyRequest = Request[Any, Any, Any]
By = Annotated[str | None, QueryParameter(name="by", description="dimensions, comma-separated")]
From = Annotated[str | None, QueryParameter(name="from", description="first week, such as 2026-W40")]
To = Annotated[str | None, QueryParameter(name="to", description="last week, such as 2026-W47")]
Offset = Annotated[int, QueryParameter(name="offset", ge=0, le=10_000_000, description="rows to skip, as in `next`")]
Limit = Annotated[
    int | None,
    QueryParameter(name="limit", ge=1, le=MAX_ROWS, description=f"rows per page. Default: {PAGE_SIZE} as JSON, all as CSV"),
]
Form = Annotated[str, QueryParameter(name="format", description="json or csv")]


def _operation(name: str) -> OperationIDCreator:
    """Return a creator of unique operation ids. GET, the only documented method, gets the plain name."""
    return lambda _, method, __: name if method == HttpMethod.GET else f"{name}{method.title()}"


async def _preflight(request: AnyRequest) -> Response[None] | None:
    """Answer a CORS preflight."""
    return Response(None, status_code=204, headers=PREFLIGHT) if request.method == HttpMethod.OPTIONS else None


class _Query(Struct, frozen=True):
    by: str | None
    since: str | None
    until: str | None
    form: Format
    offset: int
    limit: int | None

    @property
    def rows(self) -> int | None:
        """Number of rows per page; None for all, the default for CSV."""
        return self.limit or (PAGE_SIZE if self.form is Format.JSON else None)

    def next(self, path: str) -> str:
        """Return the path and query of the next page."""
        values = {
            "by": self.by,
            "from": self.since,
            "to": self.until,
            "format": None if self.form is Format.JSON else str(self.form),
            "limit": self.limit,
            "offset": self.offset + (self.rows or 0),
        }
        return f"{path}?{urlencode({name: value for name, value in values.items() if value is not None})}"


async def _parse_query(
    by: By = None, first: From = None, last: To = None, form: Form = "json", offset: Offset = 0, limit: Limit = None
) -> _Query:
    """Validate the query. Raises Problem 400."""
    for name, week in (("from", first), ("to", last)):
        try:
            start_of(week) if week is not None else None
        except InvalidWeekError as error:
            raise bad_query(name, f"{error}.") from error
    if first is not None and last is not None and first > last:
        raise bad_query("from", f"The first week, {first[:8]}, is later than the last, {last[:8]}.")
    if form not in list(Format):
        raise bad_query("format", f"{form[:16]!r} is not a format: choose {', '.join(MEDIA_TYPES)}.")
    return _Query(by, first, last, Format(form), offset, limit)


def statistics_handlers(services: Services) -> list[BaseRouteHandler]:
    @route(
        "/api/stats",
        http_method=READ_METHODS,
        before_request=_preflight,
        summary="Available numbers",
        responses={200: answers.OFFER},
    )
    async def offer(request: AnyRequest) -> Response[bytes]:
        """Return every question of the catalogue, with the path of its numbers."""

        async def make() -> Body:
            entries = [
                EntryDescription(entry.id, entry.question, entry.level, list(entry.by), url_of(entry))
                for group in topics().values()
                for entry in group
            ]
            weeks = await services.aggregate.public_weeks()
            return _json(Offer(LISTED_FROM, ROUNDED_DOWN_TO, list(Format), weeks, entries))

        return respond(request, await services.cache.body("/api/stats", make))

    @route(
        "/api/retractions",
        http_method=READ_METHODS,
        before_request=_preflight,
        summary="Which numbers were retracted, and why?",
        responses={200: answers.RETRACTIONS},
    )
    async def all_retractions(request: AnyRequest) -> Response[bytes]:
        """Return all retractions, oldest first."""

        async def make() -> Body:
            return _json(await Records(services.aggregate.engine).retractions())

        return respond(request, await services.cache.body("/api/retractions", make))

    handlers: list[BaseRouteHandler] = [offer, all_retractions]
    for topic, entries in topics().items():
        # About all packages: entries that are not about one package, and the count by package.
        handlers.append(_numbers(services, topic, [entry for entry in entries if not entry.fixed or not entry.by]))
        if subjects := [entry for entry in entries if entry.fixed]:
            handlers.append(_numbers(services, topic, subjects, of_one=True))
            if plain := next((entry for entry in subjects if not entry.by), None):
                handlers.append(_badge(services, topic, plain))
    return handlers


def url_of(entry: Entry, subject: str | None = None, **query: str | None) -> str:
    """Return the URL of an entry's numbers. ``subject``: the fixed dimension; None for a placeholder, "" for all."""
    places = [f"/{{{dimension.name}}}" if subject is None else f"/{subject}" for dimension in entry.dimensions[: entry.fixed]]
    fixed = "".join(places) if subject != "" else ""
    asked = {"by": ",".join(entry.by) or None, **query}
    text = urlencode({name: value for name, value in asked.items() if value}, safe=",")
    return f"/api/stats/{entry.topic}{fixed}{f'?{text}' if text else ''}"


def _numbers(services: Services, topic: str, entries: Sequence[Entry], *, of_one: bool = False) -> BaseRouteHandler:
    """Return the handler of a topic. ``of_one``: whether the path names a package."""

    async def numbers(request: AnyRequest, asked: NamedDependency[_Query]) -> Response[bytes]:
        """Return the numbers of a topic by the requested dimensions."""
        return await _answer(services, request, _entry_by(entries, asked.by), f"/api/stats/{topic}", {}, asked)

    async def numbers_of_one(request: AnyRequest, name: FromPath[str], asked: NamedDependency[_Query]) -> Response[bytes]:
        """Return the numbers of one package by the requested dimensions."""
        key, entry = services.package_key(name), _entry_by(entries, asked.by)
        return await _answer(services, request, entry, f"/api/stats/{topic}/{key}", {entry.dimensions[0].name: key}, asked)

    return route(
        f"/api/stats/{topic}" + ("/{name:str}" if of_one else ""),
        http_method=READ_METHODS,
        before_request=_preflight,
        summary=entries[0].question + (" (one)" if of_one else ""),
        operation_id=_operation(f"Stats{topic.title()}" + ("One" if of_one else "")),
        responses={200: answers.numbers_of(entries[-1] if of_one else entries[0])},
        dependencies={"asked": Provide(_parse_query)},
    )(numbers_of_one if of_one else numbers)


def _badge(services: Services, topic: str, entry: Entry) -> BaseRouteHandler:
    @route(
        f"/api/stats/{topic}/{{name:str}}/badge",
        http_method=READ_METHODS,
        before_request=_preflight,
        summary="Badge with the number of people, for shields.io",
        operation_id=_operation(f"Stats{topic.title()}Badge"),
        responses={200: answers.BADGE},
    )
    async def badge(request: AnyRequest, name: FromPath[str]) -> Response[bytes]:
        """Return the number of the last published week, for a shields.io endpoint badge."""
        key = services.package_key(name)

        async def make() -> Body:
            weeks = await services.aggregate.public_weeks()
            last = weeks[-1] if weeks else ""
            found = await services.aggregate.numbers(entry, {entry.dimensions[0].name: key}, since=last, until=last)
            return _json(badge_of(found[0].people if found else None))

        return respond(request, await services.cache.body(("badge", entry.id, key), make))

    return badge


def _entry_by(entries: Sequence[Entry], by: str | None) -> Entry:
    """Return the entry with these dimensions, in any order; without ``by``, the plain count or else the first entry."""
    wanted = {name.strip() for name in (by or "").split(",") if name.strip()}
    for entry in entries:
        if set(entry.by) == wanted:
            return entry
    if by is None:
        return entries[0]
    offered = sorted({",".join(entry.by) for entry in entries} - {""})
    hint = f"choose by={' or by='.join(offered)}" if offered else "omit `by`"
    raise bad_query("by", f"There are no numbers by {by[:64]!r}: {hint}.")


async def _answer(
    services: Services, request: AnyRequest, entry: Entry, path: str, fixed: dict[str, str], asked: _Query
) -> Response[bytes]:
    """Return the response for an entry. ``fixed``: dimensions given in the path."""

    async def make() -> Body:
        since, until, most = asked.since or "", asked.until or "9999", asked.rows
        rows = await services.aggregate.numbers(
            entry, fixed, since=since, until=until, offset=asked.offset, limit=most and most + 1
        )
        has_more = most is not None and len(rows) > most
        retracted = await Records(services.aggregate.engine).retractions(entry.id, since, until)
        numbers = Numbers(
            entry.id,
            entry.question,
            LISTED_FROM,
            ROUNDED_DOWN_TO,
            await services.aggregate.public_weeks(since, until),
            rows[:most],
            [one for one in retracted if one.may_concern(fixed)],
            asked.next(path) if has_more else None,
        )
        headers = CROSS_ORIGIN | ({"link": f'<{numbers.next}>; rel="next"'} if numbers.next else {})
        if asked.form is Format.JSON:
            return Body(msgspec.json.encode(numbers), headers=headers)
        name = "-".join((entry.id, *fixed.values()))
        headers["content-disposition"] = f'attachment; filename="{name}.{asked.form}"'
        return Body(WRITERS[asked.form](numbers_table(entry, numbers.rows)), MEDIA_TYPES[asked.form], headers=headers)

    return respond(request, await services.cache.body(("stats", path, entry.id, asked), make))


def _json(value: Any) -> Body:
    return Body(msgspec.json.encode(value), headers=CROSS_ORIGIN)
