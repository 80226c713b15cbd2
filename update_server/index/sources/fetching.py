"""Polite requests to upstream services: few at a time, conditional, repeated when that can help.

Retries, back-off and jitter are tenacity's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, TypeVar

import httpx
import msgspec
from msgspec import Struct
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from update_server import __version__

T = TypeVar("T")

ATTEMPTS = 6
REQUEST_TIMEOUT_S = 30.0
MAX_BODY = 64 * 2**20
LONGEST_WAIT_S = 60.0


class UpstreamError(Exception):
    """An upstream that gave no usable answer, after all attempts."""


class _RetryableError(Exception):
    """An answer that may be better next time. ``after``: seconds that the server asks to wait."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Answer(Struct, frozen=True):
    """What a request brought: a JSON text with its ETag, or None as text where the known one is still true."""

    text: bytes | None
    etag: str | None


class Fetcher:
    """Reads JSON from upstream services.

    ``concurrency``: requests at the same time. ``first_wait_s``: seconds before the second attempt, where the server does not
    say; it doubles with each.
    """

    def __init__(self, client: httpx.AsyncClient, concurrency: int, *, first_wait_s: float = 0.5) -> None:
        self._client = client
        self._places = asyncio.Semaphore(concurrency)
        self._backoff = wait_exponential_jitter(multiplier=first_wait_s, max=10, jitter=first_wait_s)

    async def get(
        self, url: str, *, etag: str | None = None, accept: str = "application/json", is_json: bool = True
    ) -> Answer | None:
        """Return the answer at ``url``, or None where there is none (404). Raises UpstreamError."""
        headers = {"accept": accept} | ({"if-none-match": etag} if etag else {})
        return await self._asked(self._client.build_request("GET", url, headers=headers), is_json)

    async def post(self, url: str, content: bytes, media_type: str = "application/json") -> bytes:
        """Send a text that changes nothing there, and return the answer. Raises UpstreamError."""
        headers = {"content-type": media_type}
        request = self._client.build_request("POST", url, content=content, headers=headers)
        answer = await self._asked(request, is_json=media_type == "application/json")
        if answer is None or answer.text is None:
            raise UpstreamError(f"{url}: not found")
        return answer.text

    async def _asked(self, request: httpx.Request, is_json: bool) -> Answer | None:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS), wait=self._wait, retry=retry_if_exception_type(_RetryableError), reraise=True
        )
        try:
            async for attempt in retrying:
                with attempt:
                    async with self._places:
                        return await self._once(request, is_json)
        except _RetryableError as error:
            raise UpstreamError(f"{request.url}: {error}") from error
        raise AssertionError("tenacity ends by a return or an exception")

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.after if isinstance(error, _RetryableError) else 0.0
        return max(min(asked, LONGEST_WAIT_S), self._backoff(state))

    async def _once(self, request: httpx.Request, is_json: bool) -> Answer | None:
        url = request.url
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S), self._sent(request) as response:
                if response.status_code in (404, 410):
                    return None
                if response.status_code == 304:
                    return Answer(None, request.headers.get("if-none-match"))
                if response.status_code == 429 or response.status_code >= 500:
                    raise _RetryableError(f"answered {response.status_code}", _seconds(response.headers.get("retry-after")))
                if response.status_code != 200:
                    raise UpstreamError(f"{url}: answered {response.status_code}")
                text = await _read(response)
        except (httpx.HTTPError, TimeoutError) as error:
            raise _RetryableError(f"{type(error).__name__} {error}".strip()) from error
        if is_json:
            try:
                msgspec.json.decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise _RetryableError(f"is no JSON: {error}") from error
        return Answer(text, response.headers.get("etag"))

    @contextlib.asynccontextmanager
    async def _sent(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        response = await self._client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()


async def _read(response: httpx.Response) -> bytes:
    text = bytearray()
    async for chunk in response.aiter_bytes():
        text += chunk
        if len(text) > MAX_BODY:
            raise UpstreamError(f"{response.url}: longer than {MAX_BODY} bytes")
    return bytes(text)


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all of ``work`` at once and return the results in order; where one fails, end the others and raise its error."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(item) for item in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def new_client() -> httpx.AsyncClient:
    """Return a client for upstream services."""
    return httpx.AsyncClient(
        headers={"user-agent": f"napari-update-server/{__version__}"},
        timeout=httpx.Timeout(15.0, pool=None),
        http2=True,  # where it is offered
        follow_redirects=True,
    )
