"""``GET /api/updates``: prepared bytes, sent from below the framework.

An ordinary handler costs more than half of what the server could send (docs/decisions.md), so this is a bare ASGI handler. It
gets every method, and says itself which it takes.
"""

from __future__ import annotations

from litestar import asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from update_server.index.negotiation import matches
from update_server.index.query import parsed_query
from update_server.problems import MEDIA_TYPE, Problem, as_problem
from update_server.services import Services


def updates_handler(services: Services) -> ASGIRouteHandler:
    """Return the handler of update checks."""

    @asgi("/api/updates", copy_scope=False)
    async def updates(scope: Scope, receive: Receive, send: Send) -> None:
        del receive  # a GET has no body that matters
        try:
            if scope["method"] not in ("GET", "HEAD"):  # type: ignore[typeddict-item]
                raise Problem(405, "Ask with GET; batches go to /api/updates/{level}.", allow="GET, HEAD")
            body = await services.updates(parsed_query(scope["query_string"]))
        except Exception as error:
            await _send_problem(send, as_problem(error))
            return
        accept_encoding = if_none_match = ""
        for name, value in scope["headers"]:
            if name == b"accept-encoding":
                accept_encoding = value.decode("latin-1")
            elif name == b"if-none-match":
                if_none_match = value.decode("latin-1")
        chosen = body.accepted_by(accept_encoding)
        if if_none_match and matches(body.etag, if_none_match):
            headers = [pair for pair in chosen.headers if pair[0] in (b"etag", b"cache-control", b"vary")]
            await _send(send, 304, headers, b"")
        else:
            await _send(send, 200, chosen.headers, b"" if scope["method"] == "HEAD" else chosen.content)  # type: ignore[typeddict-item]

    return updates


async def _send_problem(send: Send, problem: Problem) -> None:
    content = problem.encode()
    headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
    headers += [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(content)).encode())]
    await _send(send, problem.status, headers, content)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], content: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": False})
