"""Send HTTP requests without cookies, redirects or identifying headers, limited in time and size.

Timeouts in httpx limit only single reads; `run_before` abandons slow servers. ETags would identify users.
"""

from __future__ import annotations

import contextlib
import gzip
import ssl
import time
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.request import getproxies

import httpx
import msgspec
import truststore
from msgspec import Struct
from napari_update_hook.errors import ServerAnswerError, ServerUnreachableError, UpdateHookError
from napari_update_hook.settings import is_folder
from napari_update_hook.transport import LOGIN_HINT, READ_TIMEOUT_S, read_bounded, run_before

from napari_telemetry import __version__
from napari_telemetry.errors import RefusedError

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_SENDING = ("send_request_headers.started", "send_request_body.started")
"""httpcore trace events before parts of a request are sent."""


class Request(Struct, frozen=True):
    """An HTTP request. ``body``: JSON, for POST."""

    method: str
    url: str
    body: bytes = b""


class _Problem(Struct):
    detail: str = ""
    type: str = ""


_decode_problem = msgspec.json.Decoder(_Problem).decode


class Transport:
    """An HTTP client for requests that must end within ``deadline`` seconds."""

    def __init__(self, deadline: float) -> None:
        """Raise ServerUnreachableError for unusable proxy settings."""
        self._ends = time.monotonic() + deadline
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            self._client = httpx.Client(
                verify=context,
                trust_env=False,
                headers={
                    "user-agent": f"napari-telemetry/{__version__}",
                    "accept": "application/json",
                    "accept-encoding": "gzip",  # can be unpacked with a size limit
                },
                follow_redirects=False,
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # accepts no cookies
                # Loopback may be unencrypted, so it must bypass proxies
                mounts=_proxies(context) | {f"all://{host}": None for host in LOOPBACK},
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise ServerUnreachableError(
                f"The proxy settings of this computer cannot be used: {error}. Check HTTPS_PROXY, ALL_PROXY and NO_PROXY."
            ) from error

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def exchange(self, request: Request) -> bytes:
        """Return the response body. Raises ServerUnreachableError or ServerAnswerError."""
        if is_folder(request.url):
            raise ServerAnswerError(f"{request.url} is a folder, which accepts no reports.", 404)
        headers = {"content-type": "application/json", "content-encoding": "gzip"} if request.method == "POST" else {}
        content = gzip.compress(request.body, mtime=0) if request.method == "POST" else None  # no timestamp
        made = self._client.build_request(request.method, request.url, headers=headers, content=content)
        host = f"{made.url.scheme}://{made.url.netloc.decode()}"
        return run_before(self._ends, lambda: self._send(made, host), host)

    def _abort_after_deadline(self, event: str, _: dict[str, Any]) -> None:
        """Stop sending after the deadline: the caller has already recorded the request as lost."""
        if event.endswith(_SENDING) and time.monotonic() > self._ends:
            raise httpx.WriteTimeout("the deadline has passed")

    def _send(self, request: httpx.Request, host: str) -> bytes:
        request.extensions["timeout"] = httpx.Timeout(READ_TIMEOUT_S).as_dict()
        request.extensions["trace"] = self._abort_after_deadline
        try:
            response = self._client.send(request, stream=True)
            try:
                body = read_bounded(response.iter_raw(), response.headers, response.status_code, host, self._ends)
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise ServerUnreachableError(_unreachable_message(error, host)) from error
        if response.status_code != 200:
            raise _refusal(response, body, host)
        if _media_type(response) == "text/html":
            raise ServerAnswerError(f"{host} answered with a web page, not as an update server. {LOGIN_HINT}", 200)
        return body


def _unreachable_message(error: httpx.HTTPError, host: str) -> str:
    if isinstance(error, httpx.ProxyError):
        return f"{host} could not be reached: the proxy of this network refused ({error}). Check HTTPS_PROXY and NO_PROXY."
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"{host} could not be reached: this computer does not trust its certificate. Does a proxy inspect traffic?"
    return f"{host} could not be reached ({type(error).__name__}). Is there a network?"


def _proxies(context: ssl.SSLContext) -> dict[str, httpx.HTTPTransport | None]:
    """Return transports by URL pattern. Raises ValueError or httpx.InvalidURL.

    httpx's own code fails on NO_PROXY entries such as ``fd07::/64``.
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
        with contextlib.suppress(httpx.InvalidURL, ValueError):  # curl, urllib and pip also ignore it
            httpx.URL(pattern)
            found[pattern] = None
    return found


def _refusal(response: httpx.Response, body: bytes, host: str) -> RefusedError:
    try:
        problem = _decode_problem(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        problem = _Problem()
    said = f"{host} refused with status {response.status_code}" + (f": {problem.detail[:300]}" if problem.detail else ".")
    if response.is_redirect or response.status_code == 511:
        said = f"{host} answered with a redirect. {LOGIN_HINT}"
    is_problem, retry_after = _media_type(response) == "application/problem+json", response.headers.get("retry-after")
    return RefusedError(said, response.status_code, retry_after, problem.type.rpartition("/")[2], is_problem=is_problem)


def _media_type(response: httpx.Response) -> str:
    media_type: str = response.headers.get("content-type", "")
    return media_type.split(";")[0].strip().lower()


def decode_answer(answer: bytes | UpdateHookError, kind: Any, host: str) -> Any:
    """Raise ``answer`` if it is an error, and ServerAnswerError if it is unreadable."""
    if isinstance(answer, UpdateHookError):
        raise answer
    try:
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ServerAnswerError(f"{host} sent an unreadable response: {error}", 200) from error
