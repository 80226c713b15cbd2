"""``GET /api/updates``: prepared bytes, sent from below the framework.

An ordinary handler costs more than half of what the server could send (docs/decisions.md), so this is a bare ASGI handler. It
gets every method, and says itself which it takes. A question that was asked before of the same index, by query and accepted
encodings, is answered by one look-up and two messages that are ready.
"""

from __future__ import annotations

from litestar import asgi
from litestar.enums import ScopeType
from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp, HTTPResponseBodyEvent, Receive, Scope, Send

from update_server.index.query import LONGEST_QUERY, parsed_query
from update_server.problems import MEDIA_TYPE, Problem, as_problem
from update_server.representations import Representation, matches
from update_server.services import Services

Answer = tuple[bytes, Representation]
PATH = "/api/updates"
NO_BODY: HTTPResponseBodyEvent = {"type": "http.response.body", "body": b"", "more_body": False}


def updates_handler(services: Services) -> ASGIRouteHandler:
    """Return the handler of update checks, for the application's routes."""
    return asgi(PATH, copy_scope=False)(updates_app(services))


def before_the_framework(services: Services, app: ASGIApp) -> ASGIApp:
    """Return ``app`` with update checks answered before its routing, middleware and exception handling, which they need not.

    Measured: 0.78 of a bare ASGI application with them, 0.95 without (``benchmarks/serve.py``).
    """
    updates = updates_app(services)

    async def outermost(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["path"] == PATH:
            await updates(scope, receive, send)
        else:
            await app(scope, receive, send)

    return outermost


def updates_app(services: Services) -> ASGIApp:
    """Return the bare ASGI application that answers update checks."""

    checks = services.metrics.checks

    async def updates(scope: Scope, receive: Receive, send: Send) -> None:
        del receive  # a GET has no body that matters
        accept_encoding = if_none_match = b""
        for name, value in scope["headers"]:
            if name == b"accept-encoding":
                accept_encoding = value
            elif name == b"if-none-match":
                if_none_match = value
        method: str = scope["method"]  # type: ignore[typeddict-item]
        served = services.keeper.served
        asked = (scope["query_string"], accept_encoding)
        answer = served.answers.get(asked) if served is not None and method == "GET" else None
        if answer is None:
            try:
                answer = await find(method, *asked)
            except Exception as error:
                checks.refused += 1
                await _send_problem(send, as_problem(error))
                return
        etag, chosen = answer
        if if_none_match and matches(etag, if_none_match):
            start, body = chosen.not_modified
            checks.not_modified += 1
        else:
            start, body = chosen.messages
            checks.answered += 1
        await send(start)
        await send(body if method == "GET" else NO_BODY)

    async def find(method: str, query_string: bytes, accept_encoding: bytes) -> Answer:
        """The answer to a question that was not asked before of this index; it is kept once its encodings are ready."""
        if method not in ("GET", "HEAD"):
            raise Problem(405, "Ask with GET; batches go to /api/updates/{level}.", allow="GET, HEAD")
        served = services.keeper.served
        body = await services.updates(parsed_query(query_string))
        answer = (body.etag.encode(), body.accepted_by(accept_encoding.decode("latin-1")))
        is_current = served is not None and served is services.keeper.served  # no new index came in between
        if served is not None and is_current and body.is_encoded and len(accept_encoding) <= LONGEST_QUERY:
            served.answers[query_string, accept_encoding] = answer
        return answer

    return updates


async def _send_problem(send: Send, problem: Problem) -> None:
    content = problem.encode()
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": False})
