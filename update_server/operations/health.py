"""Is the process alive, and is it fit to serve? With reasons, for people and for load balancers."""

from collections.abc import Awaitable
from datetime import datetime
from typing import Any

from litestar import Response, get
from litestar.handlers import BaseRouteHandler
from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from aggregation.standing import Standing, broken_promises, failing_jobs, standing
from aggregation.stores.raw import RawStore
from update_server import __version__
from update_server.index.snapshot import Origin
from update_server.index.table import instant_text
from update_server.services import Services


class Alive(Struct):
    """The process answers."""

    status: str = "ok"
    version: str = __version__


class IndexHealth(Struct):
    """The index that is served: where it came from, how old it is, how the last refresh ended, what it could not read."""

    origin: str | None
    as_of: str | None
    age_s: int | None
    packages: int
    last_refresh_at: str | None
    last_refresh_error: str | None
    stale: dict[str, str]


class Ready(Struct):
    """``ok``: all is well. ``degraded``: it serves, but someone should look. ``unavailable``: there is no index.

    ``preparing``: it serves, and still compresses what it serves. ``overdue``: it serves, and keeps raw reports for longer than
    it promises: someone must look now.
    """

    status: str
    reasons: list[str]
    index: IndexHealth
    stores: dict[str, str]


def health_handlers(services: Services) -> list[BaseRouteHandler]:
    """Return the handlers of health."""

    @get("/health/live", summary="Is the process alive?")
    async def live() -> Alive:
        """Answer, and nothing else."""
        return Alive()

    @get("/health/ready", summary="Is the service fit to serve?")
    async def ready() -> Response[Any]:
        """Return the state of index, stores and jobs: 503 while a start is not finished, without an index or while a promise
        is broken, else 200.

        For alarms. What routes requests should ask `/health/live`: update checks are answered from memory whatever is wrong.
        """
        state = await readiness(services)
        headers = {"cache-control": "no-store"}
        return Response(
            state, status_code=503 if state.status in ("unavailable", "overdue", "preparing") else 200, headers=headers
        )

    return [live, ready]


async def readiness(services: Services) -> Ready:
    """Return how fit the service is, with a sentence for everything that is not as it should be.

    Only a missing index makes it unavailable: update checks need no store, so a store that is away must not take them along.
    Raw reports that are older than promised are worth an alarm all the same.
    """
    index, reasons, serves = index_health(services)
    reasons += [services.index.notices_error] if services.index.notices_error else []
    stores = {"aggregate": await _state(services.aggregate.published_weeks())}
    stores["raw"] = await _state(services.raw.check()) if services.raw else "switched off"
    for name, state in stores.items():
        if state not in ("ok", "switched off"):
            reasons.append(f"The {name} store can't be used: {state}.")
    broken: list[str] = []
    try:
        weeks_and_jobs = await standing_of(services)
        broken = broken_promises(weeks_and_jobs, services.clock.now(), keeps_reports=services.raw is not None)
        reasons += failing_jobs(weeks_and_jobs)
    except (SQLAlchemyError, OSError) as error:
        if not any(state not in ("ok", "switched off") for state in stores.values()):
            reasons.append(f"How the jobs stand can't be read: {type(error).__name__}.")
    if serves and not services.is_prepared:
        preparing = "Answers are being compressed after the start, which takes some seconds."
        return Ready("preparing", [preparing, *broken, *reasons], index, stores)
    status = "unavailable" if not serves else "overdue" if broken else "degraded" if reasons else "ok"
    return Ready(status, broken + reasons, index, stores)


async def standing_of(services: Services) -> Standing:
    """Return how weeks and jobs stand, as far as this process can see. Raises SQLAlchemyError or OSError."""
    return await standing(raw_that_lists_weeks(services), services.aggregate, services.clock.now())


def raw_that_lists_weeks(services: Services) -> RawStore | None:
    """The raw store, where this process may know of which weeks there are reports: on PostgreSQL only whoever runs the jobs."""
    if services.settings.jobs and services.jobs_raw is not None:
        return services.jobs_raw
    return services.raw if services.raw is not None and services.raw.web_lists_weeks else None


def index_health(services: Services) -> tuple[IndexHealth, list[str], bool]:
    """Return the state of the index, what is wrong with it in sentences, and whether there is one."""
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
        reasons.append(f"The index is the shipped one of {instant_text(as_of)}: bare facts, until a refresh succeeds.")
    if index.stale:
        reasons.append(f"{len(index.stale)} projects could not be read and are those of an earlier refresh, or missing.")
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
