"""Which ASGI server for the update check? Granian and uvicorn side by side, in one run, on this very service.

Needs wrk (Debian: apt-get install wrk). Each server runs as one worker, pinned to one core where the system can; wrk runs on
another.
Prints a table of requests per second for a 200 with the whole body and for a 304, and the ratio to the first server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from aggregation.settings import Store, StoreSettings
from migrations import upgrade

QUERY = "/api/updates?python=3.11"
GRANIAN = ["-m", "granian", "--interface", "asgi", "--factory", "--workers", "1", "--no-ws", "--log-level", "warning"]
UVICORN = ["-m", "uvicorn", "--factory", "--workers", "1", "--log-level", "warning", "--no-access-log"]
SERVERS = {
    "granian": [*GRANIAN, "--loop", "asyncio"],
    "granian, uvloop": [*GRANIAN, "--loop", "uvloop"],
    "uvicorn": [*UVICORN, "--loop", "asyncio", "--http", "h11"],
    "uvicorn, uvloop, httptools": [*UVICORN, "--loop", "uvloop", "--http", "httptools"],
}


def pinned(core: int, command: list[str]) -> list[str]:
    """Return a command that runs on one core, where the system can pin it."""
    return ["taskset", "-c", str(core), *command] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else command


@contextlib.contextmanager
def served_by(server: str, data: Path, port: int) -> Iterator[str]:
    """Run the service on a server while inside; yields its base URL."""
    environment = os.environ | {
        "UPDATE_SERVER_DATA": str(data),
        "UPDATE_SERVER_JOBS": "false",
        "UPDATE_SERVER_LOG_LEVEL": "error",
    }
    command = [sys.executable, *SERVERS[server], "--port", str(port), "--host", "127.0.0.1", "update_server.app:create_app"]
    process = subprocess.Popen(pinned(0, command), env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            with contextlib.suppress(httpx.HTTPError):
                response = httpx.get(url + QUERY, headers={"accept-encoding": "br"})
                if response.headers.get("content-encoding") == "br":
                    break
            time.sleep(0.1)
        else:
            raise SystemExit(f"{server} did not come up")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def requests_per_second(url: str, seconds: int, headers: dict[str, str]) -> float:
    """Return what wrk measures with 32 connections."""
    options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    command = pinned(1, ["wrk", "-t", "1", "-c", "32", "-d", f"{seconds}s", *options, url + QUERY])
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in answer and "if-none-match" not in headers:
        raise SystemExit(answer)
    match = re.search(r"Requests/sec:\s+([0-9.]+)", answer)
    if match is None:
        raise SystemExit(answer)
    return float(match[1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="how long each measurement takes")
    parser.add_argument("--rounds", type=int, default=3, help="how often; the medians are shown")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    figures: dict[str, dict[str, list[float]]] = {server: {"200": [], "304": []} for server in SERVERS}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        for store in Store:
            url = StoreSettings().model_copy(update={"data": data}).url(store)
            assert url is not None
            asyncio.run(upgrade(store, url))
        for turn in range(options.rounds):
            for number, server in enumerate(SERVERS):
                with served_by(server, data, 8950 + 10 * turn + number) as url:
                    etag = httpx.get(url + QUERY, headers={"accept-encoding": "identity"}).headers["etag"]
                    accept = {"accept-encoding": "br"}
                    figures[server]["200"].append(requests_per_second(url, options.seconds, accept))
                    figures[server]["304"].append(requests_per_second(url, options.seconds, accept | {"if-none-match": etag}))
    table = Table("server", "200 /s", "ratio", "304 /s", "ratio", title="update check, one worker on one core, 32 connections")
    first = next(iter(SERVERS))
    for server, kinds in figures.items():
        medians = {kind: sorted(values)[len(values) // 2] for kind, values in kinds.items()}
        firsts = {kind: sorted(values)[len(values) // 2] for kind, values in figures[first].items()}
        table.add_row(
            server,
            *(part for kind in ("200", "304") for part in (f"{medians[kind]:,.0f}", f"{medians[kind] / firsts[kind]:.2f}")),
        )
    Console().print(table)


if __name__ == "__main__":
    main()
