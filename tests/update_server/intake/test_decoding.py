from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from update_server.intake import decoding
from update_server.problems import Problem


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "SECONDS_TO_SEND", 0.05)

    async def dripping() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    with pytest.raises(Problem) as refused:
        await decoding._read(dripping())
    assert refused.value.status == 408


async def test_a_body_is_no_longer_read_once_it_is_too_long() -> None:
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
