"""GET requests without cookies, redirects or credentials, limited in time and size.

requests has no total timeout, so each request runs in a daemon thread that can be abandoned.
"""

from __future__ import annotations

import queue
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from napari_update_hook import __version__
from napari_update_hook.errors import ServerAnswerError, ServerUnreachableError, UpdateHookError
from napari_update_hook.settings import is_folder, is_loopback

READ_TIMEOUT_S = 4.0
MAX_BYTES = 8 * 2**20
LOGIN_HINT = "Does this network require you to log in first?"
HEADERS = {
    "User-Agent": f"napari-update-hook/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip",  # zlib can limit the unpacked size
}


def get(url: str, ends: float) -> bytes:
    """Return the body of a response or of a local index file. ``ends``: deadline on the ``time.monotonic()`` clock.

    Raises ServerUnreachableError or ServerAnswerError.
    """
    parts = urlsplit(url)
    host = url if is_folder(url) else f"{parts.scheme}://{parts.netloc}"
    return run_before(ends, (lambda: _read_file(url)) if is_folder(url) else (lambda: _request(url, host, ends)), host)


def run_before(ends: float, work: Callable[[], bytes], host: str) -> bytes:
    """Run ``work`` in a thread and return its result; abandon it at ``ends`` (on the ``time.monotonic()`` clock).

    Raises ServerUnreachableError if it is abandoned or raises anything but an UpdateHookError.
    """
    outcome: queue.SimpleQueue[bytes | UpdateHookError] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(work())
        except UpdateHookError as error:
            outcome.put(error)
        except Exception as error:
            outcome.put(ServerUnreachableError(f"{host} could not be reached ({type(error).__name__})."))

    threading.Thread(target=run, name="napari-update-hook-request", daemon=True).start()
    try:
        result = outcome.get(timeout=max(0.05, ends - time.monotonic()))
    except queue.Empty:
        raise ServerUnreachableError(f"{host} did not answer in time.") from None
    if isinstance(result, UpdateHookError):
        raise result
    return result


def _request(url: str, host: str, ends: float) -> bytes:
    import requests
    from requests.utils import get_environ_proxies, select_proxy

    # Loopback requests may be unencrypted, so they must not go through a proxy
    proxies = {} if is_loopback(urlsplit(url).hostname or "") else get_environ_proxies(url)
    with requests.Session() as session:
        session.trust_env = False  # ignore ~/.netrc
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        session.headers.clear()
        session.headers.update(HEADERS)
        session.mount("https://", _adapter())
        try:
            with session.get(url, stream=True, timeout=READ_TIMEOUT_S, allow_redirects=False, proxies=proxies) as response:
                chunks = response.raw.stream(65536, decode_content=False)
                body = read_bounded(chunks, response.headers, response.status_code, host, ends)
        except (requests.RequestException, OSError, ValueError) as error:
            raise ServerUnreachableError(_unreachable_message(error, host, select_proxy(url, proxies))) from error
        status, headers = response.status_code, response.headers
    if response.is_redirect or status == 511:
        raise ServerAnswerError(f"{host} sent a redirect. {LOGIN_HINT}", status)
    if status != 200:
        raise ServerAnswerError(f"{host} refused the request with status {status}.", status, headers.get("retry-after"))
    if headers.get("content-type", "").split(";")[0].strip().lower() in ("text/html", "application/xhtml+xml"):
        raise ServerAnswerError(f"{host} sent a web page instead of an index. {LOGIN_HINT}", 200)
    return body


def _adapter() -> Any:
    """Return an adapter that trusts the certificates of the system and of certifi."""
    import certifi
    from requests.adapters import HTTPAdapter

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())

    class SystemCertificates(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options, ssl_context=context)

        def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
            return super().proxy_manager_for(proxy, **options, ssl_context=context)

        def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
            """Do nothing: requests would replace the context's certificates."""

    return SystemCertificates()


def read_bounded(chunks: Iterable[bytes], headers: Mapping[str, str], status: int, host: str, ends: float) -> bytes:
    """Return the unpacked body, limited to `MAX_BYTES`: a few kilobytes can unpack to gigabytes.

    Raises ServerAnswerError or ServerUnreachableError.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise ServerAnswerError(f"{host} used an unsupported encoding.", status)
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    body = bytearray()
    for chunk in chunks:
        if time.monotonic() > ends:
            raise ServerUnreachableError(f"{host} did not answer in time.")
        try:
            body += unpacker.decompress(chunk, MAX_BYTES + 1) if unpacker else chunk
        except zlib.error as error:
            raise ServerAnswerError(f"{host} sent a response that cannot be unpacked.", status) from error
        if len(body) > MAX_BYTES or (unpacker and unpacker.unconsumed_tail):
            raise ServerAnswerError(f"{host} sent more than {MAX_BYTES} bytes, which is too many for an index.", status)
    if unpacker and not unpacker.eof and body:
        raise ServerAnswerError(f"{host} sent a response that was cut off.", status)
    return bytes(body)


def _read_file(url: str) -> bytes:
    try:
        with Path(url2pathname(urlsplit(url).path)).open("rb") as file:
            body = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ServerAnswerError(f"{url} does not exist.", 404) from error
    except OSError as error:
        raise ServerUnreachableError(f"{url} cannot be read ({error.strerror or error}).") from error
    if len(body) > MAX_BYTES:
        raise ServerAnswerError(f"{url} is larger than {MAX_BYTES} bytes, which is too many for an index.", 200)
    return body


def _unreachable_message(error: Exception, host: str, proxy: str | None) -> str:
    """Return why the server could not be reached; name the proxy without its password."""
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"{host} could not be reached, because this computer does not trust its certificate. If a proxy inspects the "
            "traffic here, set SSL_CERT_FILE to its certificate."
        )
    if proxy is not None:
        name = proxy.rpartition("@")[2]
        hint = " SOCKS proxies need the package PySocks." if "SOCKS" in text else ""
        return f"{host} could not be reached through the proxy {name}.{hint} Check HTTPS_PROXY, ALL_PROXY and NO_PROXY."
    return f"{host} could not be reached ({type(error).__name__}). Check your network connection."
