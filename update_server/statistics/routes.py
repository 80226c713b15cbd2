"""The statistics API, generated from the catalogue: one path for each topic, ``by=`` for its dimensions."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from litestar import get
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, QueryParameter
from msgspec import Struct
from napari_update_hook.weeks import InvalidWeekError, start_of

from aggregation.catalogue import Entry, topics
from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO
from aggregation.stores.aggregate import PublicRow
from aggregation.stores.records import PublicRetraction, Records, public_retraction
from update_server.problems import bad_query
from update_server.services import Services

MOST_ROWS = 1000

By = Annotated[str | None, QueryParameter(name="by", description="dimensions, comma-separated")]
From = Annotated[str | None, QueryParameter(name="from", description="first week, such as 2026-W40")]
To = Annotated[str | None, QueryParameter(name="to", description="last week, such as 2026-W47")]
Offset = Annotated[int, QueryParameter(name="offset", ge=0, le=10_000_000, description="rows to pass over; `next` has it")]


class Numbers(Struct):
    """Public numbers of one entry. Cells with fewer people than ``listed_from`` have no row; ``next`` is null at the end.

    ``retractions``: what of these numbers was taken back, and why.
    """

    entry: str
    question: str
    listed_from: int
    rounded_down_to: int
    weeks: list[str]
    rows: list[PublicRow]
    retractions: list[PublicRetraction]
    next: str | None


class EntryDescription(Struct):
    """One question that the numbers answer, and where."""

    entry: str
    question: str
    level: str
    by: list[str]
    url: str


class Offer(Struct):
    """All questions."""

    listed_from: int
    rounded_down_to: int
    weeks: list[str]
    entries: list[EntryDescription]


def statistics_handlers(services: Services) -> list[BaseRouteHandler]:
    """Return the handlers of statistics: what there is, and one for each topic of the catalogue."""

    @get("/api/stats", summary="What numbers there are")
    async def offer() -> Offer:
        """Return every question of the catalogue, with the address of its numbers."""
        entries = [
            EntryDescription(entry.id, entry.question, entry.level, list(entry.by), url_of(entry))
            for group in topics().values()
            for entry in group
        ]
        return Offer(LISTED_FROM, ROUNDED_DOWN_TO, await services.aggregate.public_weeks(), entries)

    @get("/api/retractions", summary="Which numbers were taken back, and why?")
    async def all_retractions() -> list[PublicRetraction]:
        """Return every retraction there has been, oldest first."""
        return [public_retraction(one) for one in await Records(services.aggregate.engine).retractions()]

    handlers: list[BaseRouteHandler] = [offer, all_retractions]
    for topic, entries in topics().items():
        handlers.append(_listing(services, topic, tuple(_with_free_subject(entries))))
        if subjects := [entry for entry in entries if entry.fixed]:
            handlers.append(_about_one(services, topic, tuple(subjects)))
    return handlers


def url_of(entry: Entry) -> str:
    """Return the path and query under which the numbers of an entry are found."""
    subject = "".join(f"/{{{dimension.name}}}" for dimension in entry.dimensions[: entry.fixed])
    query = f"?by={','.join(entry.by)}" if entry.by else ""
    return f"/api/stats/{entry.topic}{subject}{query}"


def _with_free_subject(entries: tuple[Entry, ...]) -> list[Entry]:
    """The entries that can be shown for all subjects at once: those without one, and the plain count of each subject."""
    return [entry for entry in entries if not entry.fixed or not entry.by]


def _listing(services: Services, topic: str, entries: tuple[Entry, ...]) -> BaseRouteHandler:
    @get(f"/api/stats/{topic}", summary=entries[0].question, operation_id=f"Stats{topic.title()}")
    async def listing(by: By = None, first: From = None, last: To = None, offset: Offset = 0) -> Numbers:
        """Return the numbers of a topic, by the dimensions that are asked for."""
        entry = _chosen(entries, by)
        return await _numbers(services, entry, {}, f"/api/stats/{topic}", by, first, last, offset)

    return listing


def _about_one(services: Services, topic: str, entries: tuple[Entry, ...]) -> BaseRouteHandler:
    @get(
        f"/api/stats/{topic}/{{name:str}}",
        summary=f"{entries[0].question} (one)",
        operation_id=f"Stats{topic.title()}One",
    )
    async def about_one(name: FromPath[str], by: By = None, first: From = None, last: To = None, offset: Offset = 0) -> Numbers:
        """Return the numbers about one package of the index, by the dimensions that are asked for."""
        key = services.package_key(name)
        entry = _chosen(entries, by)
        fixed = {entry.dimensions[0].name: key}
        return await _numbers(services, entry, fixed, f"/api/stats/{topic}/{key}", by, first, last, offset)

    return about_one


def _chosen(entries: tuple[Entry, ...], by: str | None) -> Entry:
    """The entry with those dimensions, in any order; without ``by`` the plain count, or the topic's first entry."""
    wanted = {name.strip() for name in (by or "").split(",") if name.strip()}
    for entry in entries:
        if set(entry.by) == wanted:
            return entry
    if by is None:
        return entries[0]
    offered = sorted({",".join(entry.by) for entry in entries} - {""})
    hint = f"choose by={' or by='.join(offered)}" if offered else "leave `by` out"
    raise bad_query("by", f"There are no numbers by {by[:64]!r}: {hint}.")


async def _numbers(
    services: Services,
    entry: Entry,
    fixed: dict[str, str],
    path: str,
    by: str | None,
    first: str | None,
    last: str | None,
    offset: int,
) -> Numbers:
    since, until = _week("from", first) or "", _week("to", last) or "9999"
    page = await services.aggregate.rows(entry, fixed, since=since, until=until, offset=offset, limit=MOST_ROWS)
    taken_back = await Records(services.aggregate.engine).retractions(entry.id, since, until)
    asked = {"by": by, "from": first, "to": last, "offset": offset + MOST_ROWS}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    return Numbers(
        entry=entry.id,
        question=entry.question,
        listed_from=LISTED_FROM,
        rounded_down_to=ROUNDED_DOWN_TO,
        weeks=await services.aggregate.public_weeks(since, until),
        rows=page.rows,
        retractions=[
            public_retraction(one)
            for one in taken_back
            if all(one.of.get(name, value) == value for name, value in fixed.items())
        ],
        next=f"{path}?{query}" if page.has_more else None,
    )


def _week(name: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        start_of(text)
    except InvalidWeekError as error:
        raise bad_query(name, f"{error}.") from error
    return text
