"""Cache of responses that depend only on the index and the public numbers; one query a second detects changes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable

from cachetools import TTLCache

from update_server.index.store import IndexStore, LoadedIndex
from update_server.representations import Body

MAX_BYTES = 64 * 2**20
MAX_AGE_S = 60.0
"""Seconds to keep a response: pages show the age of the index."""
CHECK_INTERVAL_S = 1.0
"""Seconds between checks for changed numbers."""
MAX_CACHED_BYTES = 4 * 2**20
"""Larger responses are not cached: a few would fill the cache."""


class AnswerCache:
    """Cache of response bodies by key.

    ``revision``: returns a token that changes with the public numbers.
    """

    def __init__(self, index: IndexStore, revision: Callable[[], Awaitable[tuple[str, ...]]]) -> None:
        self._index = index
        self._read_revision = revision
        self._bodies: TTLCache[Hashable, Body] = TTLCache(MAX_BYTES, MAX_AGE_S, getsizeof=lambda body: body.size)
        self._build_lock = asyncio.Lock()
        self._state: tuple[LoadedIndex | None, tuple[str, ...]] | None = None
        self._checked_at = float("-inf")

    async def body(self, key: Hashable, make: Callable[[], Awaitable[Body]]) -> Body:
        """Return the current body for ``key``, built by ``make`` if needed.

        Raises SQLAlchemyError if the store is unavailable, because a cached number may have been retracted.
        """
        await self._forget_if_changed()
        if (body := self._bodies.get(key)) is not None:
            return body
        async with self._build_lock:  # one build at a time; concurrent requests for the same key share it
            if (body := self._bodies.get(key)) is not None:
                return body
            state = self._state
            body = await make()
            await asyncio.to_thread(body.encode, quickly=True)
            if state is self._state and body.size <= MAX_CACHED_BYTES:
                self._bodies[key] = body
            return body

    async def _forget_if_changed(self) -> None:
        now = time.monotonic()
        loaded = self._index.loaded
        if self._state is not None and self._state[0] is loaded and now - self._checked_at < CHECK_INTERVAL_S:
            return
        revision = await self._read_revision()
        self._checked_at = now
        if self._state is None or self._state[0] is not loaded or self._state[1] != revision:
            self._state = (loaded, revision)
            self._bodies.clear()
