"""Real server processes for end-to-end tests."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from napari_update_hook.settings import UNATTENDED_VARIABLES
from typer.testing import CliRunner, Result

from tests.support.waiting import wait_until


@dataclass
class Server:
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, **options: object) -> httpx.Response:
        return httpx.get(self.url + path, timeout=10, **options)  # type: ignore[arg-type]


_RESERVED: list[socket.socket] = []


def reserved_port() -> int:
    """Return a port reserved for this process.

    A socket that is bound but not listening reserves it; servers set SO_REUSEADDR, so they can still bind.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):  # Granian and Caddy set this instead
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("127.0.0.1", 0))
    _RESERVED.append(holder)
    return int(holder.getsockname()[1])


def clean_environment(**settings: str) -> dict[str, str]:
    """Return the environment without the CI variables that disable telemetry."""
    return {name: value for name, value in os.environ.items() if name not in UNATTENDED_VARIABLES} | settings


@contextlib.contextmanager
def running_server(data: Path, **settings: str) -> Iterator[Server]:
    port = reserved_port()
    data.parent.mkdir(parents=True, exist_ok=True)
    log = data.parent / f"server-{port}.log"
    unlimited = dict.fromkeys(("UPDATE_SERVER_REPORTS_PER_MINUTE", "UPDATE_SERVER_REPORTS_PER_DAY"), "0")
    unlimited["UPDATE_SERVER_QUESTIONS_PER_MINUTE"] = "0"  # all tests use the same IP address
    own = {"UPDATE_SERVER_DATA": str(data), "UPDATE_SERVER_PORT": str(port)}
    environment = clean_environment(**(unlimited | own | settings))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "update_server", "run"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", process, log)
    try:
        wait_until(lambda: answers(server), lambda: f"the server did not start:\n{log.read_text()}", process)
        yield server
    finally:
        end(process)


def answers(server: Server) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return server.get("/health/live").status_code == 200
    return False


def end(process: subprocess.Popen[bytes], seconds: float = 15) -> int:
    """Terminate a process and kill its group."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def invoke(*command: str, **settings: str) -> Result:
    """Run a command in this process, to save the time of the imports."""
    from aggregation.cli import app as aggregation_app
    from update_server.__main__ import app as server_app

    app = {"aggregation": aggregation_app, "update_server": server_app}[command[0]]
    return CliRunner().invoke(app, command[1:], env=settings)


def run(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(**settings) | {"COLUMNS": "160"}
    return subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
