"""Servers that are slow, hang, or send oversized or malformed answers."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from napari_update_hook.errors import ServerAnswerError, ServerUnreachableError
from napari_update_hook.terminal import plain
from napari_update_hook.transport import get

from tests.support.raw_server import raw_server

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def ask(url: str, deadline: float = 20) -> bytes:
    return get(url, time.monotonic() + deadline)


def drip_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for number in range(600):
        connection.sendall(f"x-{number}: y\r\n".encode())
        time.sleep(0.1)


def drip_body(connection: socket.socket) -> None:
    connection.sendall(OK + b"content-length: 100000\r\n\r\n")
    for _ in range(600):
        connection.sendall(b" ")
        time.sleep(0.1)


def continue_forever(connection: socket.socket) -> None:
    for _ in range(600):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.1)


def say_nothing(connection: socket.socket) -> None:
    connection.recv(10_000)
    time.sleep(60)


@pytest.mark.parametrize("talk", [drip_headers, drip_body, continue_forever, say_nothing])
def test_no_server_delays_a_check_beyond_its_deadline(talk: Callable[[socket.socket], None]) -> None:
    talked_out = threading.Event()

    def talk_for_a_minute(connection: socket.socket) -> None:
        talk(connection)
        talked_out.set()

    with raw_server(talk_for_a_minute) as url:
        with pytest.raises(ServerUnreachableError, match=r"in time|reached"):
            ask(url, 0.5)
        assert not talked_out.is_set()


def test_a_waiting_thread_does_not_delay_process_exit() -> None:
    code = """
import sys, time
from napari_update_hook.transport import get
try:
    get(sys.argv[1], time.monotonic() + 0.3)
except Exception as error:
    print(type(error).__name__)
"""
    with raw_server(say_nothing) as url:
        answer = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.strip() == "ServerUnreachableError"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("broken wheel, see [/docs]", "broken wheel, see [/docs]"),
        ("[red]danger[/red]", "[red]danger[/red]"),
        ("\x1b]0;owned\x07\x1b[2Jhello", "]0;owned[2Jhello"),
        ("two\nlines", "two lines"),
        ("right\u202eleft", "rightleft"),
    ],
)
def test_server_text_is_shown_without_markup_or_control_characters(said: str, shown: str) -> None:
    assert plain(said).plain == shown


def respond(head: bytes, body: bytes = b"") -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.recv(100_000)
        connection.sendall(OK + head + b"\r\n" + body)

    return talk


def send_200_megabytes(connection: socket.socket) -> None:
    connection.recv(100_000)
    connection.sendall(OK + b"content-length: 209715200\r\n\r\n")
    for _ in range(200):
        connection.sendall(b" " * 2**20)


def test_an_oversized_answer_is_rejected_before_it_is_read() -> None:
    import tracemalloc

    with raw_server(send_200_megabytes) as url:
        tracemalloc.start()
        with pytest.raises(ServerAnswerError, match="too many for an index"):
            ask(url)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 40 * 2**20


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        (b"content-encoding: gzip\r\n", gzip.compress(b" " * 200 * 2**20), "too many for an index"),
        (b"content-encoding: gzip\r\n", gzip.compress(b'{"a": 1}' * 1000)[:-20], "cut off"),
        (b"content-encoding: gzip\r\n", b"no gzip at all", "cannot be unpacked"),
        (b"content-encoding: br\r\n", b"\x0b\x02\x80{}\x03", "unsupported encoding"),
    ],
    ids=["bomb", "truncated", "not gzip", "brotli"],
)
def test_decompression_is_bounded(head: bytes, body: bytes, said: str) -> None:
    head += f"content-length: {len(body)}\r\n".encode()
    with raw_server(respond(head, body)) as url, pytest.raises(ServerAnswerError, match=said):
        ask(url)


def test_a_gzipped_answer_is_decompressed() -> None:
    body = gzip.compress(b"{}")
    head = f"content-encoding: gzip\r\ncontent-length: {len(body)}\r\n".encode()
    with raw_server(respond(head, body)) as url:
        assert ask(url) == b"{}"


def test_a_body_shorter_than_its_content_length_is_rejected() -> None:
    with raw_server(respond(b"content-length: 200\r\n", b"{}")) as url, pytest.raises(ServerUnreachableError):
        ask(url)


@pytest.mark.parametrize("content_type", ["text/html", "text/html; charset=utf-8", "application/octet-stream", ""])
def test_any_content_type_except_html_is_accepted(content_type: str) -> None:
    """File servers label files without an extension arbitrarily."""

    def talk(connection: socket.socket) -> None:
        connection.recv(100_000)
        connection.sendall(f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: 2\r\n\r\n{{}}".encode())

    with raw_server(talk) as url:
        if "html" in content_type:
            with pytest.raises(ServerAnswerError, match="log in first"):
                ask(url)
        else:
            assert ask(url) == b"{}"


def test_an_index_can_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "my index").mkdir()
    (tmp_path / "my index" / "table.json").write_bytes(b"{}")
    folder = (tmp_path / "my index").as_uri()
    assert ask(f"{folder}/table.json") == b"{}"
    for missing in ("other.json", "table.json/x", ""):
        with pytest.raises(ServerAnswerError) as caught:
            ask(f"{folder}/{missing}")
        assert caught.value.status == 404


@pytest.mark.parametrize("no_proxy", ["localhost,::1,fd07:b51a:cc66:f0::/64", "10.0.0.0/8, .example", "]", "http://[", "*"])
def test_unusual_no_proxy_entries_are_harmless(monkeypatch: pytest.MonkeyPatch, no_proxy: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    with raw_server(respond(b"content-length: 2\r\n", b"{}")) as url:
        assert ask(url) == b"{}"


def test_a_proxy_from_the_environment_is_used_and_named_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def proxy(connection: socket.socket) -> None:
        asked.append(connection.recv(100_000))
        connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")

    for name in ("HTTPS_PROXY", "ALL_PROXY"):
        with raw_server(proxy) as url, monkeypatch.context() as patched:
            patched.setenv(name, url.replace("http://", "http://me:secret@"))
            with pytest.raises(ServerUnreachableError, match=url.removeprefix("http://")) as caught:
                ask("https://updates.example/api/updates")
        assert "secret" not in str(caught.value)
    assert [one.split()[:2] for one in asked] == [[b"CONNECT", b"updates.example:443"]] * 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "gopher://proxy.example"),
        ("HTTPS_PROXY", "http://[half"),
        ("HTTPS_PROXY", "nonsense"),
        ("ALL_PROXY", "socks5://127.0.0.1:9"),
    ],
)
def test_an_unusable_proxy_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ServerUnreachableError):
        ask("https://updates.example/api/updates", 3)


def test_loopback_requests_never_use_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    with (
        raw_server(respond(b"content-length: 2\r\n", b"{}")) as url,
        raw_server(lambda _: asked.set()) as proxy_url,
    ):
        monkeypatch.setenv("HTTP_PROXY", proxy_url)
        monkeypatch.setenv("NO_PROXY", "")
        assert ask(url) == b"{}"
    assert not asked.is_set()


def test_netrc_passwords_are_never_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked.append(connection.recv(100_000))
        connection.sendall(OK + b"content-length: 2\r\n\r\n{}")

    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with raw_server(talk) as url:
        ask(url)
    assert b"authorization" not in asked[0].lower()


def test_tls_trusts_the_systems_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A private CA is trusted only if the system trusts it."""
    trustme = pytest.importorskip("trustme", reason="needs trustme: pip install trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(100_000)
            secure.sendall(OK + b"content-length: 2\r\n\r\n{}")

    with raw_server(talk) as plain_url:
        url = plain_url.replace("http://127.0.0.1", "https://localhost")
        with pytest.raises(ServerUnreachableError, match="does not trust its certificate"):
            ask(url)
        if sys.platform == "linux":  # other systems have no such file
            authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            assert ask(url) == b"{}"
