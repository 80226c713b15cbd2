"""Against real sockets: servers that drip, hang, hand out cookies, or send whatever they like to a terminal."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from napari_update_hook.errors import ServerUnreachableError
from napari_update_hook.terminal import plain
from napari_update_hook.transport import Transport


@contextlib.contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Accept connections on a loopback port and let ``talk`` do what it wants with each."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                threading.Thread(target=quietly, args=(connection,), daemon=True).start()

    def quietly(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            talk(connection)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.close()


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
def test_no_server_can_hold_a_check_beyond_its_deadline(talk: Callable[[socket.socket], None]) -> None:
    with raw_server(talk) as url, Transport(deadline=0.5) as transport:
        before = time.monotonic()
        with pytest.raises(ServerUnreachableError, match=r"in time|reached"):
            transport.get(url)
        assert time.monotonic() - before < 5


def test_a_cookie_is_not_even_kept_from_one_request_to_the_next() -> None:
    asked: list[bytes] = []

    def hand_out_a_cookie(connection: socket.socket) -> None:
        for _ in range(2):
            asked.append(connection.recv(10_000))
            head = (
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: id=1; path=/\r\ncontent-length: 2\r\n\r\n{}"
            )
            connection.sendall(head)

    with raw_server(hand_out_a_cookie) as url, Transport() as transport:
        transport.get(url)
        transport.get(url)
    assert len(asked) == 2
    assert b"cookie" not in b"".join(asked).lower()


def test_a_thread_that_still_waits_does_not_delay_the_end_of_the_process() -> None:
    import subprocess
    import sys

    code = """
import sys
from napari_update_hook.transport import Transport
with Transport(deadline=0.3) as transport:
    try:
        transport.get(sys.argv[1])
    except Exception as error:
        print(type(error).__name__)
"""
    with raw_server(say_nothing) as url:
        answer = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=15, check=True)
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
def test_what_a_server_says_is_shown_as_text(said: str, shown: str) -> None:
    assert plain(said).plain == shown
