"""Liveness and readiness of the service, with reasons, for people and load balancers."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Any

from litestar import Response, get
from litestar.handlers import BaseRouteHandler
from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from aggregation.status import ServiceStatus, broken_promises, failing_jobs, service_status
from aggregation.stores.raw import RawStore
from update_server import __version__
from update_server.index.snapshot import Origin
from update_server.index.table import instant_text
from update_server.services import Services


class Alive(Struct):
    """The answer of ``GET /health/live``."""

    status: str = "ok"
    version: str = __version__


class IndexHealth(Struct):
    """State of the loaded index: origin, age, result of the last refresh, and unreadable projects."""

    origin: str | None
    as_of: str | None
    age_s: int | None
    packages: int
    last_refresh_at: str | None
    last_refresh_error: str | None
    stale: dict[str, str]


class Ready(Struct):
    """State of the service.

    ``status``: ``ok``; ``degraded``: it works, but needs attention; ``unavailable``: it has no index; ``preparing``: it
    works, but is still compressing responses; ``overdue``: it works, but keeps raw reports too long, so act now.
    """

    status: str
    reasons: list[str]
    index: IndexHealth
    stores: dict[str, str]


def health_handlers(services: Services) -> list[BaseRouteHandler]:
    @get("/health/live", summary="Is the process alive?")
    async def live() -> Alive:
        """Return the status ok and the version."""
        return Alive()

    @get("/health/ready", summary="Is the service ready?")
    async def ready() -> Response[Any]:
        """Return the state of index, stores and jobs: 503 while starting, without an index, or if a promise is broken.

        Use it for alerts. Load balancers should use `/health/live`, because update checks are answered from memory.
        """
        state = await readiness(services)
        headers = {"cache-control": "no-store"}
        return Response(
            state, status_code=503 if state.status in ("unavailable", "overdue", "preparing") else 200, headers=headers
        )

    return [live, ready]


async def readiness(services: Services) -> Ready:
    """Return the state of the service.

    Update checks work without the stores, so the status is unavailable only without an index. Expired raw reports still
    raise an alert.
    """
    index, reasons, serves = index_health(services)
    reasons += [services.index.notices_error] if services.index.notices_error else []
    stores = {"aggregate": await _state(services.aggregate.published_weeks())}
    stores["raw"] = await _state(services.raw.check()) if services.raw else "switched off"
    for name, state in stores.items():
        if state not in ("ok", "switched off"):
            reasons.append(f"The {name} store is unavailable: {state}.")
    broken: list[str] = []
    try:
        weeks_and_jobs = await status_of(services)
        broken = broken_promises(weeks_and_jobs, services.clock.now(), keeps_reports=services.raw is not None)
        reasons += failing_jobs(weeks_and_jobs)
    except (SQLAlchemyError, OSError) as error:
        if not any(state not in ("ok", "switched off") for state in stores.values()):
            reasons.append(f"The status of the jobs can't be read: {type(error).__name__}.")
    if serves and not services.is_prepared:
        preparing = "The service is starting: it compresses its responses, which takes some seconds."
        return Ready("preparing", [preparing, *broken, *reasons], index, stores)
    status = "unavailable" if not serves else "overdue" if broken else "degraded" if reasons else "ok"
    return Ready(status, broken + reasons, index, stores)


async def status_of(services: Services) -> ServiceStatus:
    return await service_status(raw_store_with_weeks(services), services.aggregate, services.clock.now())


def raw_store_with_weeks(services: Services) -> RawStore | None:
    """Return the raw store if this process may list its weeks: on PostgreSQL, only the process that runs the jobs may."""
    if services.settings.jobs:
        return services.raw
    return services.raw if services.raw is not None and services.raw.web_lists_weeks else None


def index_health(services: Services) -> tuple[IndexHealth, list[str], bool]:
    store, now = services.index, services.clock.now()
    reasons = []
    if store.error:
        reasons.append(store.error)
    ended_at, error = (store.last_refresh.ended_at, store.last_refresh.error) if store.last_refresh else (None, None)
    if error:
        reasons.append(f"The last refresh failed: {error}")
    if store.loaded is None:
        reasons.append("There is no index yet.")
        return (IndexHealth(None, None, None, 0, _text(ended_at), error, {}), reasons, False)
    index = store.loaded.index
    as_of = index.facts.as_of
    if index.origin is Origin.SEED:
        reasons.append(f"Until a refresh succeeds, the seed index of {instant_text(as_of)} is served, which has no texts.")
    if index.stale:
        reasons.append(f"{len(index.stale)} projects could not be read: their entries are old or missing.")
    health = IndexHealth(
        origin=index.origin,
        as_of=instant_text(as_of),
        age_s=max(0, int((now - as_of).total_seconds())),
        packages=len(index.facts.packages),
        last_refresh_at=_text(ended_at),
        last_refresh_error=error,
        stale={
            key: f"{entry.error} (last good: {_text(entry.since) or 'never'})" for key, entry in sorted(index.stale.items())
        },
    )
    return health, reasons, True


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant_text(instant)


async def _state(check: Awaitable[object]) -> str:
    try:
        await check
    except (SQLAlchemyError, OSError) as error:
        return type(error).__name__
    return "ok"
