"""Poll for a condition instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

POLL_INTERVAL_S = 0.02
Otherwise = str | Callable[[], str]


def wait_until(
    condition: Callable[[], Any],
    otherwise: Otherwise = "it did not happen in time",
    process: subprocess.Popen[Any] | None = None,
    seconds: float = 60,
    not_yet: tuple[type[Exception], ...] = (),
) -> None:
    """Wait; fail after ``seconds``, or when ``process`` ends. ``not_yet``: exceptions to ignore while waiting."""
    for _ in _attempts(otherwise, process, seconds):
        try:
            if condition():
                return
        except not_yet:
            pass
        time.sleep(POLL_INTERVAL_S)


async def until(
    condition: Callable[[], bool | Awaitable[bool]], otherwise: Otherwise = "it did not happen in time", seconds: float = 60
) -> None:
    """Wait like `wait_until`, without blocking the event loop."""
    for _ in _attempts(otherwise, None, seconds):
        holds = condition()
        if await holds if inspect.isawaitable(holds) else holds:
            return
        await asyncio.sleep(POLL_INTERVAL_S)


def _attempts(otherwise: Otherwise, process: subprocess.Popen[Any] | None, seconds: float) -> Iterator[None]:
    ends = time.monotonic() + seconds
    while True:
        has_ended = process is not None and process.poll() is not None
        yield
        if has_ended or time.monotonic() > ends:
            raise AssertionError(otherwise if isinstance(otherwise, str) else otherwise())
