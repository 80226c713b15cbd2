"""Waits for what comes about in an event loop, for as long as a machine that has other things to do may take."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

import pytest

EVERY_S = 0.05


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 60.0) -> None:
    """Wait until ``condition`` holds; fail after ``seconds``."""
    for _ in range(int(seconds / EVERY_S)):
        holds = condition()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        await asyncio.sleep(EVERY_S)
    pytest.fail("it did not happen in time")
