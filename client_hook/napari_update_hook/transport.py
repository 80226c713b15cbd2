"""Requests, with every promise about them: no cookies, no redirects, bounded in time and size, nothing that tells who asks.

httpx times out each read, so a server that drips bytes, of a body or of its headers, could hold a request for ever. Each
request therefore runs in a daemon thread that is waited for until one deadline and then left alone: it can't delay the end of a
process.
"""

from __future__ import annotations

import queue
import ssl
import threading
import time
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx
import msgspec
import truststore
from msgspec import Struct

from napari_update_hook import __version__
from napari_update_hook.errors import ServerAnswerError, ServerUnreachableError, UpdateHookError

DEADLINE_S = 5.0
LONGEST_READ_S = 4.0
MOST_BYTES = 8 * 2**20


class Answer(Struct, frozen=True):
    """What came back: ``body`` is None where the known one is still true (304)."""

    body: bytes | None


class _Problem(Struct):
    """The parts of an RFC 9457 body that are for us."""

    detail: str = ""
    type: str = ""


class Transport:
    """Sends the requests of one piece of work within ``deadline`` seconds in all. Use as a context manager."""

    def __init__(self, deadline: float = DEADLINE_S) -> None:
        self._ends = time.monotonic() + deadline
        self._client = httpx.Client(
            verify=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            headers={"user-agent": f"napari-update-hook/{__version__}", "accept": "application/json"},
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # a jar that takes none
        )

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, url: str, *, etag: str | None = None, query: dict[str, str] | None = None) -> Answer:
        """Ask for a JSON text. ``etag``: computed from the cached body. Raises ServerUnreachableError, ServerAnswerError."""
        headers = {"if-none-match": f'"{etag}"'} if etag else {}
        return self._within_the_deadline(self._client.build_request("GET", url, params=query, headers=headers))

    def post(self, url: str, body: bytes, *, query: dict[str, str] | None = None) -> Answer:
        """Send a JSON text. Raises ServerUnreachableError, ServerAnswerError."""
        headers = {"content-type": "application/json"}
        return self._within_the_deadline(self._client.build_request("POST", url, params=query, headers=headers, content=body))

    def _within_the_deadline(self, request: httpx.Request) -> Answer:
        host = f"{request.url.scheme}://{request.url.netloc.decode()}"
        outcome: queue.SimpleQueue[Answer | UpdateHookError] = queue.SimpleQueue()

        def work() -> None:
            try:
                outcome.put(self._send(request, host))
            except UpdateHookError as error:
                outcome.put(error)
            except Exception as error:
                outcome.put(ServerUnreachableError(f"{host} could not be asked ({type(error).__name__})."))

        threading.Thread(target=work, name="napari-update-hook", daemon=True).start()
        try:
            result = outcome.get(timeout=max(0.05, self._ends - time.monotonic()))
        except queue.Empty:
            raise ServerUnreachableError(f"{host} did not answer in time.") from None
        if isinstance(result, UpdateHookError):
            raise result
        return result

    def _send(self, request: httpx.Request, host: str) -> Answer:
        request.extensions["timeout"] = httpx.Timeout(LONGEST_READ_S).as_dict()
        try:
            response = self._client.send(request, stream=True)
            try:
                body = _read(response, host)
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise ServerUnreachableError(
                f"{host} could not be reached ({type(error).__name__}). Is there a network?"
            ) from error
        if response.status_code == 304:
            return Answer(None)
        if response.status_code != 200:
            raise _error_of(response, body, host)
        if response.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise ServerAnswerError(
                f"{host} answered, but not as an update server would. Is this a network that wants you to log in first?", 200
            )
        return Answer(body)


def _read(response: httpx.Response, host: str) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MOST_BYTES:
            raise ServerAnswerError(f"{host} sent more than {MOST_BYTES} bytes, which no update server does.", 200)
    return bytes(body)


def _error_of(response: httpx.Response, body: bytes, host: str) -> ServerAnswerError:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        problem = _Problem()
    detail = problem.detail[:300] or "without a reason"
    return ServerAnswerError(
        f"{host} refused with {response.status_code}: {detail}", response.status_code, problem.type.rpartition("/")[2]
    )


def decoded(body: bytes, kind: Any, host: str) -> Any:
    """Read an answer as ``kind``. Raises ServerAnswerError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ServerAnswerError(f"{host} gave an answer that can't be read: {error}", 200) from error
