"""Conditional HTTP requests with size limits, retries and back-off."""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, TypeVar
from urllib.request import getproxies, proxy_bypass

import httpx
import msgspec
from msgspec import Struct
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from update_server import __version__

T = TypeVar("T")

ATTEMPTS = 6
REQUEST_TIMEOUT_S = 30.0
MAX_BODY = 64 * 2**20
"""Bytes after decompression."""

MAX_METADATA = 2**20
"""Bytes after decompression; ten times the largest known file."""

MAX_RETRY_WAIT_S = 60.0
MAX_REDIRECTS = 3


class UpstreamError(Exception):
    """The upstream gave no usable answer, even after retries."""


class RefusedError(UpstreamError):
    """The upstream refused the request; a retry would not help."""


class TooLongError(UpstreamError):
    """The answer exceeds the size limit."""


class _RetryableError(Exception):
    """A failure worth a retry. ``after``: seconds that the server asks to wait."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Answer(Struct, frozen=True):
    """The answer to a request. ``text``: None if unchanged (304)."""

    text: bytes | None
    etag: str | None


class Fetcher:
    """Sends requests to upstream services.

    ``origins``: the only servers to contact, whatever answers link or redirect to. ``first_wait_s``: the first back-off,
    which doubles with each retry.
    """

    def __init__(
        self, client: httpx.AsyncClient, origins: Iterable[str], concurrency: int, *, first_wait_s: float = 0.5
    ) -> None:
        self._client = client
        self._origins = {_origin(httpx.URL(origin)) for origin in origins}
        self._semaphore = asyncio.Semaphore(concurrency)
        self._backoff = wait_exponential_jitter(multiplier=first_wait_s, max=10, jitter=first_wait_s)

    async def get(
        self,
        url: str,
        *,
        etag: str | None = None,
        accept: str = "application/json",
        is_json: bool = True,
        max_bytes: int = MAX_BODY,
    ) -> Answer | None:
        """Return the answer, or None for 404 and 410. Raises UpstreamError."""
        headers = {"accept": accept} | ({"if-none-match": etag} if etag else {})
        return await self._request_with_retries(self._client.build_request("GET", url, headers=headers), is_json, max_bytes)

    async def post(self, url: str, content: bytes, media_type: str = "application/json") -> bytes:
        """Send a query and return the answer's content. Raises UpstreamError."""
        headers = {"content-type": media_type}
        request = self._client.build_request("POST", url, content=content, headers=headers)
        answer = await self._request_with_retries(request, is_json=media_type == "application/json")
        if answer is None or answer.text is None:
            raise UpstreamError(f"{url}: not found")
        return answer.text

    async def _request_with_retries(self, request: httpx.Request, is_json: bool, max_bytes: int = MAX_BODY) -> Answer | None:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS), wait=self._wait, retry=retry_if_exception_type(_RetryableError), reraise=True
        )
        try:
            async for attempt in retrying:
                with attempt:
                    async with self._semaphore:
                        return await self._request_once(request, is_json, max_bytes)
        except _RetryableError as error:
            raise UpstreamError(f"{request.url}: {error}") from error
        raise AssertionError("tenacity ends by a return or an exception")

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.after if isinstance(error, _RetryableError) else 0.0
        return max(min(asked, MAX_RETRY_WAIT_S), self._backoff(state))

    async def _request_once(self, request: httpx.Request, is_json: bool, max_bytes: int) -> Answer | None:
        url = request.url
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S), self._send(request) as response:
                if response.status_code in (404, 410):
                    return None
                if response.status_code == 304:
                    return Answer(None, request.headers.get("if-none-match"))
                if response.status_code == 429 or response.status_code >= 500:
                    raise _RetryableError(
                        f"answered {response.status_code}", _parse_retry_after(response.headers.get("retry-after"))
                    )
                if response.status_code != 200:
                    raise RefusedError(f"{url}: answered {response.status_code}")
                text = await _read(response, max_bytes)
        except (httpx.HTTPError, TimeoutError) as error:
            raise _RetryableError(f"{type(error).__name__} {error}".strip()) from error
        if is_json:
            try:
                await asyncio.to_thread(msgspec.json.decode, text, type=msgspec.Raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise _RetryableError(f"is not JSON: {error}") from error
        return Answer(text, response.headers.get("etag"))

    @contextlib.asynccontextmanager
    async def _send(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """Send a request and follow redirects, but only to ``origins``."""
        for _ in range(MAX_REDIRECTS + 1):
            if _origin(request.url) not in self._origins:
                raise UpstreamError(f"{request.url}: not a configured service")
            response = await self._client.send(request, stream=True)
            try:
                if response.next_request is None:
                    yield response
                    return
                request = response.next_request
            finally:
                await response.aclose()
        raise UpstreamError(f"{request.url}: more than {MAX_REDIRECTS} redirects")


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    """Decompress up to a limit: httpx would expand a kilobyte to gigabytes."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise UpstreamError(f"{response.url}: unexpected content encoding {encoding[:20]!r}")
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    text = bytearray()
    async for chunk in response.aiter_raw():
        try:
            text += unpacker.decompress(chunk, max_bytes + 1) if unpacker else chunk
        except zlib.error as error:
            raise _RetryableError(f"cannot be unpacked: {error}") from error
        if len(text) > max_bytes or (unpacker and unpacker.unconsumed_tail):
            raise TooLongError(f"{response.url}: longer than {max_bytes} bytes")
    if unpacker and not unpacker.eof:
        raise _RetryableError("was cut off")
    return bytes(text)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _parse_retry_after(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0


async def gather_or_cancel(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run ``work`` concurrently and return the results in order; cancel the rest on an error."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(item) for item in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def new_client(origins: Iterable[str]) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        headers={"user-agent": f"napari-update-server/{__version__}", "accept-encoding": "gzip"},
        timeout=httpx.Timeout(15.0, pool=None),
        http2=True,  # if offered
        mounts=_proxies(origins),
        trust_env=False,
    )


def _proxies(origins: Iterable[str]) -> dict[str, httpx.AsyncBaseTransport | None]:
    """Return a transport per origin. urllib reads NO_PROXY, because httpx rejects networks such as ``fd07::/64`` in it."""
    proxies, found = getproxies(), {}
    for origin in origins:
        url = httpx.URL(origin)
        proxy = proxies.get(url.scheme) or proxies.get("all")
        if proxy and not proxy_bypass(url.netloc.decode()):
            address = proxy if "://" in proxy else f"http://{proxy}"
            found[f"{url.scheme}://{url.host}"] = httpx.AsyncHTTPTransport(proxy=address, http2=True)
    return dict(found)
