"""A minimal ASGI application, the baseline for the serving benchmark."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Send = Callable[[dict[str, Any]], Awaitable[None]]


def create_app() -> Callable[[dict[str, Any], object, Send], Awaitable[None]]:
    content = Path(os.environ["BARE_BODY"]).read_bytes()
    etag = os.environ["BARE_ETAG"].encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"cache-control", b"public, max-age=300"),
        (b"vary", b"accept-encoding"),
        (b"etag", etag),
        (b"content-length", str(len(content)).encode()),
        (b"content-encoding", b"br"),
    ]
    not_modified = headers[1:4]

    async def app(scope: dict[str, Any], receive: object, send: Send) -> None:
        if scope["type"] != "http":
            return
        if any(name == b"if-none-match" and value == etag for name, value in scope["headers"]):
            await send({"type": "http.response.start", "status": 304, "headers": not_modified})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})

    return app
