"""Real sockets: slow, silent, hostile and misconfigured servers."""

from __future__ import annotations

import gzip
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from napari_telemetry.transport import Request, Transport
from napari_update_hook.errors import ServerAnswerError, ServerUnreachableError

from tests.support.raw_server import raw_server


def transport_of(deadline: float = 5.0) -> Transport:
    return Transport(deadline)


def get(transport: Transport, url: str) -> bytes:
    return transport.exchange(Request("GET", url))


def post(transport: Transport, url: str, body: bytes) -> bytes:
    return transport.exchange(Request("POST", url, body))


def drip_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in range(600):
        connection.sendall(f"x-{number}: y\r\n".encode())
        time.sleep(0.1)


def drip_body(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
    for _ in range(600):
        connection.sendall(b" ")
        time.sleep(0.1)


def say_nothing(connection: socket.socket) -> None:
    connection.recv(10_000)
    time.sleep(60)


@pytest.mark.parametrize("talk", [drip_headers, drip_body, say_nothing])
def test_no_server_delays_a_check_beyond_its_deadline(talk: Callable[[socket.socket], None]) -> None:
    talked_out = threading.Event()

    def talk_for_a_minute(connection: socket.socket) -> None:
        talk(connection)
        talked_out.set()

    with raw_server(talk_for_a_minute) as url, Transport(deadline=0.5) as transport:
        with pytest.raises(ServerUnreachableError, match=r"in time|reached"):
            get(transport, url)
        assert not talked_out.is_set()


@pytest.mark.promise("no-tracking")
def test_cookies_are_not_kept_between_requests() -> None:
    asked: list[bytes] = []

    def hand_out_a_cookie(connection: socket.socket) -> None:
        for _ in range(2):
            asked.append(connection.recv(10_000))
            head = (
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: id=1; path=/\r\ncontent-length: 2\r\n\r\n{}"
            )
            connection.sendall(head)

    with raw_server(hand_out_a_cookie) as url, transport_of() as transport:
        get(transport, url)
        get(transport, url)
    assert len(asked) == 2
    assert b"cookie" not in b"".join(asked).lower()


def test_a_waiting_thread_does_not_delay_process_exit() -> None:
    import subprocess
    import sys

    code = """
import sys
from napari_telemetry.transport import Request, Transport
with Transport(deadline=0.3) as transport:
    try:
        transport.exchange(Request("GET", sys.argv[1]))
    except Exception as error:
        print(type(error).__name__)
"""
    with raw_server(say_nothing) as url:
        answer = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "ServerUnreachableError"


def respond(head: bytes, body: bytes = b"") -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.recv(100_000)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" + head + b"\r\n" + body)

    return talk


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        (b"content-encoding: gzip\r\n", gzip.compress(b" " * 200 * 2**20), "sent more than"),
        (b"content-encoding: gzip\r\n", gzip.compress(b'{"a": 1}' * 1000)[:-20], "cut off"),
        (b"content-encoding: br\r\n", b"\x0b\x02\x80{}\x03", "unsupported encoding"),
    ],
    ids=["bomb", "truncated", "brotli"],
)
def test_decompression_is_bounded(head: bytes, body: bytes, said: str) -> None:
    head += f"content-length: {len(body)}\r\n".encode()
    with raw_server(respond(head, body)) as url, transport_of() as transport, pytest.raises(ServerAnswerError, match=said):
        get(transport, url)


@pytest.mark.parametrize("content_type", ["text/html", "text/html; charset=utf-8", "application/octet-stream", ""])
def test_any_content_type_except_html_is_accepted(content_type: str) -> None:
    """File servers label files without an extension arbitrarily."""

    def talk(connection: socket.socket) -> None:
        connection.recv(100_000)
        connection.sendall(f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: 2\r\n\r\n{{}}".encode())

    with raw_server(talk) as url, transport_of() as transport:
        if "html" in content_type:
            with pytest.raises(ServerAnswerError, match="log in first"):
                get(transport, url)
        else:
            assert get(transport, url) == b"{}"


def test_a_folder_accepts_no_reports(tmp_path: Path) -> None:
    with transport_of() as transport, pytest.raises(ServerAnswerError, match="accepts no reports"):
        post(transport, f"{tmp_path.as_uri()}/api/updates/basic", b"{}")


@pytest.mark.parametrize("no_proxy", ["localhost,::1,fd07:b51a:cc66:f0::/64", "10.0.0.0/8, .example", "]", "http://[", "*"])
def test_unusual_no_proxy_entries_are_harmless(monkeypatch: pytest.MonkeyPatch, no_proxy: str) -> None:
    """curl, urllib and pip accept them, too; Docker sets the first."""

    def talk(connection: socket.socket) -> None:
        connection.recv(100_000)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    with raw_server(talk) as url, transport_of() as transport:
        assert get(transport, url) == b"{}"


def test_a_proxy_from_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def proxy(connection: socket.socket) -> None:
        asked.append(connection.recv(100_000))
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")

    with raw_server(proxy) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with transport_of() as transport:
            get(transport, "http://updates.example/api/updates")
    assert asked[0].startswith(b"GET http://updates.example/api/updates HTTP/1.1")


def test_a_refusing_proxy_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(100_000)
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")

    with raw_server(refuse) as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        with transport_of() as transport, pytest.raises(ServerUnreachableError, match="proxy of this network"):
            get(transport, "https://updates.example/api/updates")


def test_tls_trusts_the_systems_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A private CA is trusted only if the system trusts it."""
    trustme = pytest.importorskip("trustme", reason="needs trustme: pip install trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(100_000)
            secure.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")

    with raw_server(talk) as plain_url:
        url = plain_url.replace("http://127.0.0.1", "https://localhost")
        with transport_of() as transport, pytest.raises(ServerUnreachableError, match="does not trust its certificate"):
            get(transport, url)
        if sys.platform == "linux":  # other systems have no such file
            authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            with transport_of() as transport:
                assert get(transport, url) == b"{}"


def test_a_body_is_gzipped_without_a_timestamp() -> None:
    asked: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked.append(connection.recv(100_000))
        while asked[0].endswith(b"\r\n\r\n"):  # the body follows separately
            asked[0] += connection.recv(100_000)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")

    with raw_server(talk) as url, transport_of() as transport:
        post(transport, url, b'{"a": 1}')
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head.lower()
    assert gzip.decompress(body) == b'{"a": 1}'
    assert body[4:8] == b"\0\0\0\0"


@pytest.mark.parametrize(
    ("name", "value"), [("ALL_PROXY", "gopher://proxy.example"), ("HTTPS_PROXY", "http://[half"), ("HTTPS_PROXY", "nonsense")]
)
def test_an_invalid_proxy_setting_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ServerUnreachableError), Transport(1) as transport:
        get(transport, "https://updates.example/api/updates")


def test_a_socks_proxy_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def socks(connection: socket.socket) -> None:
        asked.append(connection.recv(1000))

    with raw_server(socks) as url:
        monkeypatch.setenv("ALL_PROXY", url.replace("http://", "socks5://"))
        with Transport(5) as transport, pytest.raises(ServerUnreachableError):
            get(transport, "http://updates.example/api/updates")
    assert asked[0].startswith(b"\x05"), "the greeting of SOCKS 5"


def test_loopback_requests_never_use_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    def proxy(connection: socket.socket) -> None:
        raise AssertionError("the proxy was asked")

    body = b"{}"
    with raw_server(respond(b"content-length: 2\r\n", body)) as url, raw_server(proxy) as proxy_url:
        monkeypatch.setenv("HTTP_PROXY", proxy_url)
        monkeypatch.setenv("NO_PROXY", "")
        with transport_of() as transport:
            assert get(transport, url) == body


def test_nothing_is_sent_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a slow DNS lookup: meanwhile, the user may have deleted everything."""
    asked: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked.append(connection.recv(100_000))

    connect, connected = socket.create_connection, threading.Event()

    def slowly(*arguments: object, **options: object) -> socket.socket:
        time.sleep(0.6)
        made = connect(*arguments, **options)  # type: ignore[arg-type]
        connected.set()
        return made

    monkeypatch.setattr(socket, "create_connection", slowly)
    with raw_server(talk) as url, Transport(deadline=0.2) as transport:
        with pytest.raises(ServerUnreachableError, match="in time"):
            post(transport, url, b"{}")
        assert connected.wait(10)
        time.sleep(0.3)
    assert [body for body in asked if body] == []


def test_a_request_reveals_nothing_about_the_machine() -> None:
    asked: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked.append(connection.recv(100_000))
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")

    with raw_server(talk) as url, transport_of() as transport:
        get(transport, url)
    lines = asked[0].decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    assert headers.pop("host")
    assert headers == {
        "user-agent": "napari-telemetry/0.2.0",
        "accept": "application/json",
        "accept-encoding": "gzip",
        "connection": "keep-alive",
    }
