"""Requests, with every promise about them: no cookies, no redirects, bounded in time and size, nothing that tells who asks.

httpx times out each read, so a server that drips bytes, of a body or of its headers, could hold a request for ever. Each
request therefore runs in a daemon thread that is waited for until one deadline and then left alone: it can't delay the end of a
process.
"""

from __future__ import annotations

import contextlib
import gzip
import queue
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, url2pathname

import httpx
import msgspec
import truststore
from msgspec import Struct
from napari_update_hook.settings import is_folder

from napari_telemetry import __version__
from napari_telemetry.errors import ServerAnswerError, ServerUnreachableError, UpdateHookError

DEADLINE_S = 5.0
LONGEST_READ_S = 4.0
MOST_BYTES = 8 * 2**20
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_SENDING = ("send_request_headers.started", "send_request_body.started")
"""Names, in httpcore's trace, of the moments at which a request begins to leave."""


LOG_IN = "Is this a network that wants you to log in first?"


class Answer(Struct, frozen=True):
    """What came back: ``body`` is None where the known one is still true (304)."""

    body: bytes | None


class _Problem(Struct):
    """The parts of an RFC 9457 body that are for us."""

    detail: str = ""
    type: str = ""


class Transport:
    """Sends the requests of one piece of work within ``deadline`` seconds in all. Use as a context manager.

    Proxies come from the environment, as httpx reads it; certificates are the system's.
    """

    def __init__(self, deadline: float = DEADLINE_S) -> None:
        """Raises ServerUnreachableError where the proxy settings of the environment can't be used."""
        self.allow(deadline)
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            self._client = httpx.Client(
                verify=context,
                trust_env=False,
                headers={
                    "user-agent": f"napari-telemetry/{__version__}",
                    "accept": "application/json",
                    "accept-encoding": "gzip",  # what can be unpacked in bounds with the standard library
                },
                follow_redirects=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # a jar that takes none
                # To this machine without encryption, so it must not leave it.
                mounts=_proxies(context) | {f"all://{host}": None for host in LOOPBACK},
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise ServerUnreachableError(
                f"The proxy settings of this computer can't be used: {error}. Look at HTTPS_PROXY, ALL_PROXY and NO_PROXY."
            ) from error

    def allow(self, seconds: float) -> None:
        """Let all requests from now on take so many seconds together."""
        self._ends = time.monotonic() + seconds

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, url: str, *, etag: str | None = None, query: dict[str, str] | None = None) -> Answer:
        """Ask for a JSON text, or read it from a folder. ``etag``: computed from the cached body.

        Raises ServerUnreachableError, ServerAnswerError.
        """
        if is_folder(url):
            return self._within_the_deadline(lambda: _read_file(url), url)
        headers = {"if-none-match": f'"{etag}"'} if etag else {}
        return self._request(self._client.build_request("GET", url, params=query, headers=headers))

    def post(self, url: str, body: bytes) -> Answer:
        """Send a JSON text, compressed. Raises ServerUnreachableError, ServerAnswerError."""
        if is_folder(url):
            raise ServerAnswerError(f"{url} is a folder, which takes no reports.", 404)
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        packed = gzip.compress(body, mtime=0)  # no time goes into it
        return self._request(self._client.build_request("POST", url, headers=headers, content=packed))

    def _request(self, request: httpx.Request) -> Answer:
        host = f"{request.url.scheme}://{request.url.netloc.decode()}"
        return self._within_the_deadline(lambda: self._send(request, host), host)

    def _within_the_deadline(self, ask: Callable[[], Answer], host: str) -> Answer:
        outcome: queue.SimpleQueue[Answer | UpdateHookError] = queue.SimpleQueue()

        def work() -> None:
            try:
                outcome.put(ask())
            except UpdateHookError as error:
                outcome.put(error)
            except Exception as error:
                outcome.put(ServerUnreachableError(f"{host} could not be asked ({type(error).__name__})."))

        threading.Thread(target=work, name="napari-telemetry", daemon=True).start()
        try:
            result = outcome.get(timeout=max(0.05, self._ends - time.monotonic()))
        except queue.Empty:
            raise ServerUnreachableError(f"{host} did not answer in time.") from None
        if isinstance(result, UpdateHookError):
            raise result
        return result

    def _not_too_late(self, event: str, _: dict[str, Any]) -> None:
        """Let nothing leave after the deadline: whoever waited has gone on, and may have asked for the opposite since."""
        if event.endswith(_SENDING) and time.monotonic() > self._ends:
            raise httpx.WriteTimeout("the deadline has passed")

    def _send(self, request: httpx.Request, host: str) -> Answer:
        request.extensions["timeout"] = httpx.Timeout(LONGEST_READ_S).as_dict()
        request.extensions["trace"] = self._not_too_late
        try:
            response = self._client.send(request, stream=True)
            try:
                body = _read(response, host)
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise ServerUnreachableError(_why_unreachable(error, host)) from error
        if response.status_code == 304:
            return Answer(None)
        if response.status_code != 200:
            raise _error_of(response, body, host)
        if _media_type(response) == "text/html":
            raise ServerAnswerError(f"{host} answered, but not as an update server would. {LOG_IN}", 200)
        return Answer(body)


def _why_unreachable(error: httpx.HTTPError, host: str) -> str:
    if isinstance(error, httpx.ProxyError):
        return f"{host} could not be reached: the proxy of this network refused ({error}). Look at HTTPS_PROXY and NO_PROXY."
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"{host} could not be reached: this computer does not trust its certificate. Does a proxy read the traffic here?"
    return f"{host} could not be reached ({type(error).__name__}). Is there a network?"


def _proxies(context: ssl.SSLContext) -> dict[str, httpx.HTTPTransport | None]:
    """The proxies that the environment names, as mounts of httpx, which itself fails at a NO_PROXY such as ``fd07::/64``.

    Raises ValueError or httpx.InvalidURL for a proxy that cannot be used.
    """
    named = getproxies()
    found: dict[str, httpx.HTTPTransport | None] = {}
    for scheme in ("http", "https", "all"):
        if address := named.get(scheme):
            proxy = address if "://" in address else f"http://{address}"
            found[f"{scheme}://"] = httpx.HTTPTransport(proxy=proxy, verify=context)
    for entry in filter(None, (part.strip() for part in named.get("no", "").split(",") if found)):
        if entry == "*":
            return {}
        is_exact = entry.lower() == "localhost" or entry.replace(".", "").isdigit() or entry.count(":") > 1
        pattern = f"all://{'' if is_exact else '*'}{f'[{entry}]' if entry.count(':') > 1 else entry}"
        with contextlib.suppress(httpx.InvalidURL, ValueError):  # curl, urllib and pip ignore such an entry, too
            httpx.URL(pattern)
            found[pattern] = None
    return found


def _read_file(url: str) -> Answer:
    """Read a file of an index that lies in a folder."""
    try:
        with Path(url2pathname(urlsplit(url).path)).open("rb") as file:
            body = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ServerAnswerError(f"{url} does not exist.", 404) from error
    except OSError as error:
        raise ServerUnreachableError(f"{url} can't be read ({error.strerror or error}).") from error
    if len(body) > MOST_BYTES:
        raise ServerAnswerError(f"{url} has more than {MOST_BYTES} bytes, which no file of an index has.", 200)
    return Answer(body)


def _read(response: httpx.Response, host: str) -> bytes:
    """Read a body in bounds, before and after unpacking: a few kilobytes can unpack to gigabytes."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise ServerAnswerError(f"{host} answered in an encoding that was not asked for.", response.status_code)
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    body = bytearray()
    for chunk in response.iter_raw():
        try:
            body += unpacker.decompress(chunk, MOST_BYTES + 1) if unpacker else chunk
        except zlib.error as error:
            raise ServerAnswerError(f"{host} gave an answer that can't be unpacked.", response.status_code) from error
        if len(body) > MOST_BYTES or (unpacker and unpacker.unconsumed_tail):
            raise ServerAnswerError(
                f"{host} sent more than {MOST_BYTES} bytes, which no update server does.", response.status_code
            )
    if unpacker and not unpacker.eof and body:
        raise ServerAnswerError(f"{host} gave an answer that was cut off.", response.status_code)
    return bytes(body)


def _error_of(response: httpx.Response, body: bytes, host: str) -> ServerAnswerError:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        problem = _Problem()
    said = f"{host} refused with {response.status_code}" + (f": {problem.detail[:300]}" if problem.detail else ".")
    if response.is_redirect or response.status_code == 511:
        said = f"{host} answered with a redirect. {LOG_IN}"
    return ServerAnswerError(
        said,
        response.status_code,
        problem.type.rpartition("/")[2],
        response.headers.get("retry-after"),
        is_problem=_media_type(response) == "application/problem+json",
    )


def _media_type(response: httpx.Response) -> str:
    media_type: str = response.headers.get("content-type", "")
    return media_type.split(";")[0].strip().lower()


def decoded(body: bytes, kind: Any, host: str) -> Any:
    """Read an answer as ``kind``. Raises ServerAnswerError."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ServerAnswerError(f"{host} gave an answer that can't be read: {error}", 200) from error
