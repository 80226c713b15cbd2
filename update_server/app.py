"""The application: all handlers, error handling, and background tasks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import structlog
from litestar import Litestar, Response
from litestar.config.app import AppConfig
from litestar.openapi import OpenAPIConfig
from litestar.plugins import InitPlugin
from litestar.types import ASGIApp

from update_server import __version__
from update_server.certificates.routes import certificate_handlers
from update_server.index.routes import FilesFirst, index_handlers
from update_server.intake.decoding import MAX_BYTES_SENT
from update_server.intake.routes import intake_handlers
from update_server.operations.accounting import metrics_middleware
from update_server.operations.health import health_handlers
from update_server.operations.scheduling import make_scheduler, watch_snapshot, watch_status
from update_server.pages.rendering import SECURITY_HEADERS, Pages
from update_server.pages.routes import page_handlers
from update_server.services import Services
from update_server.settings import Settings
from update_server.statistics.routes import statistics_handlers

log = structlog.get_logger()


class Service(Litestar):
    """The Litestar application, which serves index files before routing."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.state.files_first(scope, receive, send)


def create_app(settings: Settings | None = None) -> Service:
    """Create the application. Its stores must already be migrated."""
    services = Services(settings or Settings())
    pages = Pages(services)

    @contextlib.asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with running(services):
            preparing = asyncio.create_task(_prepare(services, pages))
            yield
            await _cancel([preparing])

    app = Service(
        [
            *index_handlers(services),
            *intake_handlers(services),
            *statistics_handlers(services),
            *certificate_handlers(services),
            *health_handlers(services),
            *page_handlers(services, pages),
        ],
        lifespan=[lifespan],
        exception_handlers={Exception: pages.answer_error},
        template_config=pages.config,
        on_app_init=[_remove_schema_pages],
        after_request=_add_security_headers,
        request_max_body_size=MAX_BYTES_SENT * 2,
        openapi_config=OpenAPIConfig(
            title="napari update service",
            version=__version__,
            description="A plugin index for napari that knows which version your Python can install, with opt-in telemetry.",
            use_handler_docstrings=True,
        ),
        logging_config=None,
    )
    app.state.services = services
    app.state.files_first = FilesFirst(services, super(Service, app).__call__)
    return app


async def _prepare(services: Services, pages: Pages) -> None:
    """Compress all responses, which takes seconds; until then `/health/ready` reports ``preparing``."""
    try:
        await services.index.compress()
        await pages.compress_assets()
    except Exception:
        log.exception("not_prepared")  # serve uncompressed
    services.is_prepared = True


class _SchemaPageRemover(InitPlugin):
    """Plugin that removes Litestar's pages at /schema: they load scripts from CDNs.

    Disabling them in the configuration would remove the schema, too.
    """

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.route_handlers = [one for one in app_config.route_handlers if getattr(one, "path", "") != "/schema"]
        return app_config


def _remove_schema_pages(app_config: AppConfig) -> AppConfig:
    app_config.plugins.append(_SchemaPageRemover())  # must run after Litestar's own plugin, which adds them
    return app_config


def create_asgi_app() -> ASGIApp:
    app = create_app()
    services: Services = app.state.services
    counted = metrics_middleware(super(Service, app).__call__, services.metrics, logs_access=services.settings.access_log)
    return FilesFirst(services, counted)


@contextlib.asynccontextmanager
async def running(services: Services, *, runs_jobs: bool | None = None) -> AsyncIterator[None]:
    """Load the index and run the background tasks inside the block. ``runs_jobs``: None to follow the settings."""
    settings = services.settings
    services.index.load()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(services.close)
        background = []
        if services.writer:
            background.append(asyncio.create_task(services.writer.run()))
        if settings.metrics_port is not None:
            stop = services.metrics.serve(settings.metrics_host, settings.metrics_port)
            stack.push_async_callback(asyncio.to_thread, stop)
            background.append(asyncio.create_task(watch_status(services)))
        if settings.jobs if runs_jobs is None else runs_jobs:
            scheduler = make_scheduler(services)
            scheduler.start()
            stack.push_async_callback(scheduler.stop)
        else:  # another process runs the jobs and refreshes the index
            background.append(asyncio.create_task(watch_snapshot(services)))
        stack.push_async_callback(_cancel, background)
        yield


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _add_security_headers(response: Response[Any]) -> Response[Any]:
    response.headers.update({name: value for name, value in SECURITY_HEADERS.items() if name not in response.headers})
    return response
