"""Responses in several content encodings, with ETags and content negotiation. A `Body` is built once and sent often."""

import gzip
import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, AnyStr

import brotli
from litestar import Request, Response
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent

ENCODINGS = ("br", "gzip")
"""Content encodings in order of preference."""

MAX_CACHED_CHOICES = 64
"""Maximum number of Accept-Encoding headers for which a body caches the choice."""

MAX_HEADER = 256
"""Maximum length of such a header."""

CACHE_CONTROL = "public, max-age=300"
JSON = "application/json"


class Representation:
    """A body in one content encoding, with the ASGI messages that send it."""

    __slots__ = ("content", "headers", "messages", "not_modified")

    def __init__(self, content: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.content = content
        self.headers = headers
        kept = [pair for pair in headers if not pair[0].startswith(b"content-")]
        self.messages = _messages(200, headers, content)
        self.not_modified = _messages(304, kept, b"")


def _messages(
    status: int, headers: list[tuple[bytes, bytes]], content: bytes
) -> tuple[HTTPResponseStartEvent, HTTPResponseBodyEvent]:
    return (
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": content, "more_body": False},
    )


class Body:
    """A response body with its representations.

    ``etag``: without quotes and suffix. ``gzipped``: the content compressed with gzip, if available.
    """

    __slots__ = ("_chosen", "_fixed", "etag", "etag_bytes", "identity", "is_encoded", "representations")

    def __init__(
        self,
        identity: bytes,
        media_type: str = JSON,
        cache_control: str = CACHE_CONTROL,
        headers: Mapping[str, str] | None = None,
        vary: str = "accept-encoding",
        gzipped: bytes | None = None,
    ) -> None:
        self.identity = identity
        self.is_encoded = False
        self.etag = hashlib.sha256(identity).hexdigest()[:32]
        self.etag_bytes = self.etag.encode()
        self._chosen: dict[bytes, Representation] = {}
        self._fixed = [
            (b"content-type", media_type.encode()),
            (b"cache-control", cache_control.encode()),
            (b"vary", vary.encode()),
            *((name.encode(), value.encode()) for name, value in (headers or {}).items()),
        ]
        self.representations = {"identity": self._representation(identity)}
        if gzipped is not None:
            self.representations["gzip"] = self._representation(gzipped, "gzip")

    def encode(self, encodings: Iterable[str] = ENCODINGS, *, quickly: bool = False) -> None:
        """Compress the body. ``quickly``: in milliseconds, at a lower level.

        All replicas produce equal bytes, because the gzip header contains no time.
        """
        for name in encodings:
            self.representations[name] = self._representation(_COMPRESS[name](self.identity, quickly), name)
        self.is_encoded = True
        self._chosen = {}  # these were chosen among the old encodings

    def chosen(self, accept_encoding: bytes) -> Representation:
        chosen = self._chosen
        found = chosen.get(accept_encoding)
        if found is None:
            found = self.negotiate(accept_encoding.decode("latin-1"))
            if len(chosen) < MAX_CACHED_CHOICES and len(accept_encoding) < MAX_HEADER:
                chosen[accept_encoding] = found
        return found

    def negotiate(self, accept_encoding: str) -> Representation:
        """Return the smallest available representation that an Accept-Encoding header allows."""
        accepted = accepted_encodings(accept_encoding)
        for encoding in ENCODINGS:
            if encoding in accepted and encoding in self.representations:
                return self.representations[encoding]
        return self.representations["identity"]

    @property
    def size(self) -> int:
        """Size of all representations in bytes."""
        return sum(len(one.content) for one in self.representations.values())

    def _representation(self, content: bytes, encoding: str | None = None) -> Representation:
        headers = [
            *self._fixed,
            (b"etag", f'"{self.etag}{f"-{encoding}" if encoding else ""}"'.encode()),
            (b"content-length", str(len(content)).encode()),
        ]
        if encoding:
            headers.append((b"content-encoding", encoding.encode()))
        return Representation(content, headers)


_COMPRESS: dict[str, Callable[[bytes, bool], bytes]] = {
    "br": lambda text, quickly: bytes(brotli.compress(text, quality=5 if quickly else 11)),
    "gzip": lambda text, quickly: gzip.compress(text, 6 if quickly else 9, mtime=0),
}


def respond(request: Request[Any, Any, Any], body: Body) -> Response[bytes]:
    chosen = body.negotiate(request.headers.get("accept-encoding", ""))
    headers = {name.decode(): value.decode() for name, value in chosen.headers if name != b"content-length"}
    media_type = headers.pop("content-type")
    if matches(body.etag, request.headers.get("if-none-match", "")):
        kept = {name: value for name, value in headers.items() if not name.startswith("content-")}
        return Response(b"", status_code=304, headers=kept)
    return Response(chosen.content, status_code=200, media_type=media_type, headers=headers)


@lru_cache(maxsize=256)
def accepted_encodings(header: str) -> frozenset[str]:
    """Return the encodings that an Accept-Encoding header allows (RFC 9110, 12.5.3)."""
    accepted = set()
    for item in header.lower().split(","):
        coding, _, parameters = item.strip().partition(";")
        weight = parameters.strip().removeprefix("q=").strip()
        if coding and not (weight and _is_zero(weight)):
            accepted.add(coding.strip())
    return frozenset(accepted)


def _is_zero(weight: str) -> bool:
    try:
        return float(weight) == 0
    except ValueError:
        return False


def matches(etag: AnyStr, if_none_match: AnyStr) -> bool:
    return etag in if_none_match or if_none_match.strip() in ("*", b"*")
