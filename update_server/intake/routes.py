"""HTTP API for telemetry: send batches, find and delete reports, describe the levels."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import structlog
from litestar import MediaType, Request, Response, get, post
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from msgspec import Struct
from napari_telemetry.weeks import ACCEPTED_AFTER_END
from napari_telemetry.wire import (
    KEY_FIELDS,
    TELEMETRY_LEVELS,
    AllowList,
    BatchAnswer,
    DeletedReports,
    FoundReports,
    IdentifierQuery,
    Level,
    Receipt,
    StoredReport,
    fields_of,
)
from sqlalchemy.exc import SQLAlchemyError

from aggregation.catalogue import questions_using
from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO
from aggregation.status import RETENTION
from aggregation.stores.raw import RawStore
from update_server.intake.decoding import json_text
from update_server.intake.limiting import AddressLimits, client_address
from update_server.intake.validation import SCHEMA_VERSIONS, accepted
from update_server.problems import Problem, ProblemBody
from update_server.representations import respond
from update_server.services import RETRY_AFTER_S, Services

AnyRequest = Request[Any, Any, Any]
T = TypeVar("T")
log = structlog.get_logger()
_PROBLEM = ResponseSpec(ProblemBody, description="what is wrong, as problem+json", media_type=MediaType.JSON)
_NO_STORE = {"cache-control": "no-store"}
_decode_identifier = msgspec.json.Decoder(IdentifierQuery).decode


class FieldDescription(Struct, frozen=True):
    """A field of a report, and the public questions that need it."""

    name: str
    type: str
    questions: list[str]
    description: str = ""


class LevelDescription(Struct, frozen=True):
    """A level, and where its reports are sent."""

    name: Level
    enabled: bool
    host: str | None
    endpoint: str
    fields: list[FieldDescription]


class Levels(Struct, frozen=True):
    """The answer of ``GET /api/telemetry/levels``, for organisations that allow or block levels."""

    schema_versions: list[int]
    listed_from: int
    rounded_down_to: int
    retention_days: int
    closes_after_days: int
    levels: list[LevelDescription]


def intake_handlers(services: Services) -> list[BaseRouteHandler]:
    proxies = services.settings.trusted_proxies

    def on_own_host(request: AnyRequest, *levels: Level) -> None:
        """Refuse a request to a host other than the levels' own, so that a firewall can block these. Raises Problem 421."""
        own = [services.settings.level_hosts.get(level) for level in levels]
        if None not in own and _host_name(request.headers.get("host", "")) not in {_host_name(str(one)) for one in own}:
            raise Problem(421, f"This is available only at {' and '.join(map(str, own))}, so that a firewall can block it.")

    def require_level(request: AnyRequest, text: str) -> Level:
        """Return the level that the path names. Raises Problem: 404, 410 or 421."""
        try:
            level = Level(text)
        except ValueError:
            level = Level.NONE
        if level is Level.NONE:
            raise Problem(404, f"There is no such level: choose {', '.join(TELEMETRY_LEVELS)}.", pointer="level")
        if level not in services.settings.levels:
            raise Problem(410, f"This server no longer accepts the level {level}.", pointer="level")
        on_own_host(request, level)
        return level

    def limited(request: AnyRequest, limits: AddressLimits) -> None:
        """Count a request before reading its body. Raises Problem 429."""
        peer = request.client.host if request.client else "unknown"
        try:
            limits.check(client_address(peer, request.headers.getall("x-forwarded-for", []), proxies))
        except Problem:
            services.metrics.limited.inc()
            raise

    async def in_raw_store(work: Callable[[RawStore], Awaitable[T]]) -> T:
        if services.raw is None:
            raise Problem(503, "This server does not store telemetry.", retry_after=86400)
        try:
            return await work(services.raw)
        except (SQLAlchemyError, OSError) as error:
            log.error("raw_store_away", error=type(error).__name__)
            raise Problem(503, "The reports are unavailable now. Try again later.", retry_after=RETRY_AFTER_S) from error

    @post(
        "/api/updates/{level:str}",
        status_code=200,
        summary="Send a telemetry batch",
        responses={
            200: ResponseSpec(BatchAnswer, description="the receipt"),
            422: _PROBLEM,
            410: _PROBLEM,
            429: _PROBLEM,
            503: _PROBLEM,
        },
    )
    async def send_batch(request: AnyRequest, level: FromPath[str]) -> Response[bytes]:
        """Store one report. The server answers once the report is durable."""
        checked = require_level(request, level)
        limited(request, services.report_limits)
        text = await json_text(request)
        batch = accepted(text, checked, services.allowed(), services.clock.now())
        if services.writer is None:
            raise Problem(503, "This server does not accept telemetry.", retry_after=86400)
        stored = await services.writer.put(batch.report)
        services.metrics.reports.labels(checked.value, stored.outcome.value).inc()
        services.metrics.left_out.labels("plugins").inc(batch.left_out.plugins)
        services.metrics.left_out.labels("commands").inc(batch.left_out.commands)
        answer = BatchAnswer(Receipt(stored.stored, stored.revision, stored.reason, batch.left_out))
        return Response(msgspec.json.encode(answer), status_code=200, media_type=MediaType.JSON, headers=_NO_STORE)

    @post(
        "/api/reports/find",
        status_code=200,
        summary="Reports stored for an identifier",
        responses={
            200: ResponseSpec(FoundReports, description="the reports of that identifier; an empty list if there are none")
        },
    )
    async def find(request: AnyRequest) -> Response[bytes]:
        """Return the raw reports of an identifier. Send the identifier in the body, because URLs end up in logs."""
        on_own_host(request, *TELEMETRY_LEVELS)
        limited(request, services.question_limits)
        identifier = _identifier(await json_text(request))
        reports = [
            StoredReport(
                Level(report.level),
                report.schema_version,
                {name: getattr(report, name) for name in KEY_FIELDS} | report.document,
            )
            for report in await in_raw_store(lambda raw: raw.find(identifier))
        ]
        return Response(
            msgspec.json.encode(FoundReports(reports)), status_code=200, media_type=MediaType.JSON, headers=_NO_STORE
        )

    @post(
        "/api/reports/delete",
        status_code=200,
        summary="Delete the reports stored for an identifier",
        responses={200: ResponseSpec(DeletedReports, description="how many reports were deleted")},
    )
    async def delete(request: AnyRequest) -> Response[bytes]:
        """Delete the raw reports of an identifier. No copies exist."""
        on_own_host(request, *TELEMETRY_LEVELS)
        limited(request, services.question_limits)
        identifier = _identifier(await json_text(request))
        deleted = DeletedReports(await in_raw_store(lambda raw: raw.delete(identifier)))
        return Response(msgspec.json.encode(deleted), status_code=200, media_type=MediaType.JSON, headers=_NO_STORE)

    @get("/api/telemetry/levels", summary="Telemetry levels with endpoints, hosts and fields")
    async def levels() -> Levels:
        """Return each level's endpoint, host, fields and the questions they answer, and how long reports are kept."""
        return describe_levels(services.settings.levels, services.settings.level_hosts)

    @get(
        "/api/telemetry/allowed/{level:str}",
        summary="Strings that a report may contain",
        responses={200: ResponseSpec(AllowList, description="the public lists for this level")},
    )
    async def allowed(request: AnyRequest, level: FromPath[str]) -> Response[bytes]:
        """Return the public lists of strings that reports of this level may contain."""
        return respond(request, services.allowed().bodies[require_level(request, level)])

    return [send_batch, find, delete, levels, allowed]


def describe_levels(enabled: tuple[Level, ...], hosts: dict[Level, str]) -> Levels:
    return Levels(
        schema_versions=list(SCHEMA_VERSIONS),
        listed_from=LISTED_FROM,
        rounded_down_to=ROUNDED_DOWN_TO,
        retention_days=RETENTION.days,
        closes_after_days=ACCEPTED_AFTER_END.days,
        levels=[
            LevelDescription(
                name=level,
                enabled=level in enabled,
                host=hosts.get(level),
                endpoint=f"/api/updates/{level}",
                fields=[
                    FieldDescription(field.name, field.type, list(questions_using(field.name)), field.description)
                    for field in fields_of(level)
                ],
            )
            for level in TELEMETRY_LEVELS
        ],
    )


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _identifier(text: bytes) -> str:
    try:
        return _decode_identifier(text).identifier
    except msgspec.ValidationError as error:
        raise Problem(422, "Send an identifier: 32 digits from 0 to 9 and a to f.", pointer="/identifier") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "The body is not valid JSON.") from error
