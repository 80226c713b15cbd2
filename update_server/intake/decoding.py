"""Reads request bodies: content type, encoding, size limits. The declared length is not trusted."""

import asyncio
import io
import zlib
from collections.abc import AsyncIterator
from typing import Any

import zstandard
from litestar import Request

from update_server.problems import Problem

MAX_BYTES_SENT = 64 * 1024
MAX_BYTES_UNPACKED = 512 * 1024
SECONDS_TO_SEND = 10.0
ZSTD_WINDOW = 1 << 23


async def json_text(request: Request[Any, Any, Any]) -> bytes:
    """Raises Problem: 400, 408, 413 or 415."""
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(415, "Send JSON, with the header Content-Type: application/json.", pointer="content-type")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "zstd"):
        raise Problem(415, "Content-Encoding must be gzip, zstd or identity.", pointer="content-encoding")
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
                if len(body) > MAX_BYTES_SENT:
                    raise Problem(413, f"The body is longer than {MAX_BYTES_SENT} bytes.")
    except TimeoutError as error:
        raise Problem(408, f"The body did not arrive within {SECONDS_TO_SEND:.0f} seconds.") from error
    return bytes(body)


def _gunzipped(sent: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(sent, MAX_BYTES_UNPACKED + 1)
    except zlib.error as error:
        raise Problem(400, "The body is not valid gzip.") from error
    _check_size(text)
    if not unpacker.eof or unpacker.unused_data:
        raise Problem(400, "The body is not valid gzip: it is cut off, or has trailing data.")
    return text


def _unpacked_zstd(sent: bytes) -> bytes:
    # Only one frame, with a bounded read: the library's max_output_size is no bound (docs/decisions.md).
    unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    try:
        with unpacker.stream_reader(io.BytesIO(sent), read_across_frames=False) as reader:
            text = reader.read(MAX_BYTES_UNPACKED + 1)
        _check_size(text)
        frame = unpacker.decompressobj(read_across_frames=False)
        frame.decompress(sent)
    except zstandard.ZstdError as error:
        raise Problem(400, "The body is not valid zstd.") from error
    if not frame.eof or frame.unused_data:
        raise Problem(400, "The body is not valid zstd: it is cut off, or has trailing data.")
    return text


def _check_size(text: bytes) -> None:
    if len(text) > MAX_BYTES_UNPACKED:
        raise Problem(413, f"The body unpacks to more than {MAX_BYTES_UNPACKED} bytes.")
