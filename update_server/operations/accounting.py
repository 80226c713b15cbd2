"""One place where every request except files of the index passes: it is counted, and logged if that is asked for.

A line has the method, the endpoint as it is declared (``/api/pypi/{name}``, never the name), the status and the
milliseconds: no address, no query, no header.
"""

import time

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from update_server.operations.metrics import Metrics

UNKNOWN = "unknown"

log = structlog.get_logger()


def accounted(app: ASGIApp, metrics: Metrics, *, logs_access: bool) -> ASGIApp:
    """Return ``app`` with its requests counted in ``metrics``, and logged if ``logs_access``."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        began, status = time.perf_counter(), 499  # whoever left before an answer

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, noting)
        finally:
            endpoint = str(scope.get("path_template") or UNKNOWN)
            metrics.requests.labels(endpoint, status).inc()
            if logs_access:
                took = round((time.perf_counter() - began) * 1000, 1)
                log.info("request", method=str(scope["method"]), endpoint=endpoint, status=status, took_ms=took)

    return outer
