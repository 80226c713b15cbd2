"""Middleware that counts and optionally logs requests, except for index files. It logs no address, query or header."""

import time

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from update_server.operations.metrics import Metrics

UNKNOWN = "unknown"

log = structlog.get_logger()


def metrics_middleware(app: ASGIApp, metrics: Metrics, *, logs_access: bool) -> ASGIApp:
    async def count_request(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        began, status = time.perf_counter(), 499  # unless a response starts: the client disconnected

        async def send_and_record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, send_and_record_status)
        finally:
            endpoint = str(scope.get("path_template") or UNKNOWN)
            metrics.requests.labels(endpoint, status).inc()
            if logs_access:
                took = round((time.perf_counter() - began) * 1000, 1)
                log.info("request", method=str(scope["method"]), endpoint=endpoint, status=status, took_ms=took)

    return count_request
