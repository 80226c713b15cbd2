"""Reads request bodies and checks type, encoding and size. The declared length is not trusted."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Any

from litestar import Request

from update_server.problems import Problem

MAX_BYTES_SENT = 64 * 1024
MAX_BYTES_UNPACKED = 512 * 1024
SEND_TIMEOUT_S = 10.0


async def json_text(request: Request[Any, Any, Any]) -> bytes:
    """Return the body of a JSON request, decompressed. Raises Problem: 400, 408, 413 or 415."""
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(415, "Send JSON, with the header Content-Type: application/json.", pointer="content-type")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise Problem(415, "Content-Encoding must be gzip or identity.", pointer="content-encoding")
    sent = await _read(request.stream())
    return sent if encoding == "identity" else _gunzipped(sent)


async def _read(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_BYTES_SENT:
                    raise Problem(413, f"The body is longer than {MAX_BYTES_SENT} bytes.")
    except TimeoutError as error:
        raise Problem(408, f"The body did not arrive within {SEND_TIMEOUT_S:.0f} seconds.") from error
    return bytes(body)


def _gunzipped(sent: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(sent, MAX_BYTES_UNPACKED + 1)
    except zlib.error as error:
        raise Problem(400, "The body is not valid gzip.") from error
    if len(text) > MAX_BYTES_UNPACKED:
        raise Problem(413, f"The body unpacks to more than {MAX_BYTES_UNPACKED} bytes.")
    if not unpacker.eof or unpacker.unused_data:
        raise Problem(400, "The body is not valid gzip: it is cut off, or has trailing data.")
    return text
