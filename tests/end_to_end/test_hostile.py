"""Attacks on the real server process: generated requests, ten thousand open connections, endless bodies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from napari_telemetry.wire import Level

from tests.support.batches import batch_json
from tests.support.processes import Server, running_server
from tests.support.sample_upstream import FakeUpstream
from tests.support.waiting import wait_until

EXAMPLES = os.environ.get("TEST_SCHEMATHESIS", "5")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    settings = {"UPDATE_SERVER_NOW": "2026-11-18T12:00:00Z"}
    with (
        FakeUpstream().served() as upstream,
        running_server(folder / "data", UPDATE_SERVER_UPSTREAM=upstream, **settings) as running,
    ):
        wait_until(lambda: running.get("/health/ready").json()["index"]["origin"] == "refresh", running.log.read_text)
        yield running


@pytest.mark.slow
def test_requests_generated_from_openapi_cause_no_server_error(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="needs schemathesis: pip install schemathesis")
    program = Path(sys.executable).with_name("schemathesis")
    command = [
        str(program),
        "run",
        f"{server.url}/api/openapi.json",
        "--suppress-health-check",
        "filter_too_much",  # some paths allow few values, so most generated values are filtered out
        "--checks",
        "not_a_server_error",
        "--max-examples",
        EXAMPLES,
    ]
    # One worker: CPython before 3.11.8 counts the depth of syntax trees across threads
    command += ["--workers", "1", "--no-color", "--generation-database", "none", "--request-timeout", "20"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    tested = re.search(r"([0-9,]+) generated", done.stdout)
    assert tested is not None, done.stdout[-3000:]
    assert server.get("/health/live").status_code == 200


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of open files are POSIX")
async def test_server_responds_with_ten_thousand_open_connections(server: Server) -> None:
    wanted = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted + 500:
        pytest.skip(f"needs {wanted} open files: ulimit -n {wanted + 500} in a shell that may raise it")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 500), hard))
    port = int(server.url.rpartition(":")[2])
    connections: list[socket.socket] = []
    try:
        for _ in range(wanted):
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            connection.sendall(b"POST /api/updates/basic?python=3.11 HTTP/1.1\r\nhost: x\r\n")  # an unfinished request
            connections.append(connection)
        async with httpx.AsyncClient(timeout=30) as client:
            assert (await client.get(f"{server.url}/api/updates?python=3.11")).status_code == 200
            mine = batch_json(Level.BASIC, identifier=uuid.uuid4().hex)  # earlier tests may use the example's identifier
            sent = await client.post(f"{server.url}/api/updates/basic?python=3.11", json=mine)
            assert sent.json()["receipt"]["stored"], sent.text
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(connections) == wanted


@pytest.mark.slow
async def test_an_endless_body_times_out_and_blocks_no_other_request(server: Server) -> None:
    port = int(server.url.rpartition(":")[2])
    begun: asyncio.Queue[None] = asyncio.Queue()

    async def drip() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /api/updates/basic?python=3.11 HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n")
        writer.write(b"content-length: 60000\r\n\r\n")
        await writer.drain()
        begun.put_nowait(None)
        answer = asyncio.create_task(reader.readline())
        with contextlib.suppress(ConnectionError):
            while not answer.done():
                writer.write(b" ")
                await writer.drain()
                await asyncio.wait([answer], timeout=0.2)
        writer.close()
        return await answer

    dripping = [asyncio.create_task(drip()) for _ in range(50)]
    async with httpx.AsyncClient(timeout=10) as client:
        for _ in dripping:
            await begun.get()
        assert (await client.get(f"{server.url}/api/updates?python=3.11")).status_code == 200
    lines = await asyncio.wait_for(asyncio.gather(*dripping), 60)
    assert {line.split()[1] for line in lines} == {b"408"}
