from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from update_server.intake import decoding
from update_server.problems import Problem


async def test_a_slow_body_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "SEND_TIMEOUT_S", 0.05)

    async def dripping() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    with pytest.raises(Problem) as refused:
        await decoding._read(dripping())
    assert refused.value.status == 408


async def test_reading_stops_once_the_body_is_too_long() -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b" " * 4096

    with pytest.raises(Problem) as refused:
        await decoding._read(endless())
    assert refused.value.status == 413
    assert given <= decoding.MAX_BYTES_SENT / 4096 + 1
