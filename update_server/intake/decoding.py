"""From the bytes of a request to JSON text: size, encoding, content type. Nothing is believed before it is counted."""

import asyncio
import io
import zlib
from collections.abc import AsyncIterator
from typing import Any

import zstandard
from litestar import Request

from update_server.problems import Problem

MOST_BYTES_SENT = 64 * 1024
MOST_BYTES_UNPACKED = 512 * 1024
SECONDS_TO_SEND = 10.0
ZSTD_WINDOW = 1 << 23


async def json_text(request: Request[Any, Any, Any]) -> bytes:
    """Return the body of a request as unpacked JSON text. Raises Problem: 400, 408, 413 or 415."""
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(415, "Send JSON, with the header Content-Type: application/json.", pointer="content-type")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "zstd"):
        raise Problem(415, "Content-Encoding may be gzip, zstd or identity.", pointer="content-encoding")
    sent = await _read(request.stream())
    if encoding == "identity":
        return sent
    return _gunzipped(sent) if encoding == "gzip" else _unpacked_zstd(sent)


async def _read(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS_TO_SEND):
            async for chunk in chunks:
                body += chunk
                if len(body) > MOST_BYTES_SENT:
                    raise Problem(413, f"The body is longer than {MOST_BYTES_SENT} bytes.")
    except TimeoutError as error:
        raise Problem(408, f"The body did not arrive within {SECONDS_TO_SEND:.0f} seconds.") from error
    return bytes(body)


def _gunzipped(sent: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(sent, MOST_BYTES_UNPACKED + 1)
    except zlib.error as error:
        raise Problem(400, "The body is no valid gzip.") from error
    _check_size(text)
    if not unpacker.eof or unpacker.unused_data:
        raise Problem(400, "The body is no valid gzip: it is cut off, or something follows it.")
    return text


def _unpacked_zstd(sent: bytes) -> bytes:
    # Of one frame alone, and read in bounds: the library's max_output_size does not bound it (docs/decisions.md).
    unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    try:
        with unpacker.stream_reader(io.BytesIO(sent), read_across_frames=False) as reader:
            text = reader.read(MOST_BYTES_UNPACKED + 1)
        _check_size(text)
        frame = unpacker.decompressobj(read_across_frames=False)
        frame.decompress(sent)
    except zstandard.ZstdError as error:
        raise Problem(400, "The body is no valid zstd.") from error
    if not frame.eof or frame.unused_data:
        raise Problem(400, "The body is no valid zstd: it is cut off, or something follows it.")
    return text


def _check_size(text: bytes) -> None:
    if len(text) > MOST_BYTES_UNPACKED:
        raise Problem(413, f"The body unpacks to more than {MOST_BYTES_UNPACKED} bytes.")
