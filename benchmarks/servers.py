"""Which ASGI server for the update check? Granian and uvicorn side by side, in one run, on this very service.

Needs wrk (Debian: apt-get install wrk). Each server runs as one worker, pinned to one core where the system can; wrk runs on
another. Prints a table of requests per second for a 200 with the whole body and for a 304, and the ratio to the first server.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.loading import GRANIAN, QUERY, measured, need, prepared_stores, print_ratios, the_service

UVICORN = ["-m", "uvicorn", "--factory", "--workers", "1", "--log-level", "warning", "--no-access-log"]
SERVERS = {
    "granian": [*GRANIAN, "--loop", "asyncio"],
    "granian, uvloop": [*GRANIAN, "--loop", "uvloop"],
    "uvicorn": [*UVICORN, "--loop", "asyncio", "--http", "h11"],
    "uvicorn, uvloop, httptools": [*UVICORN, "--loop", "uvloop", "--http", "httptools"],
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="how long each measurement takes")
    parser.add_argument("--rounds", type=int, default=3, help="how often; the medians are shown")
    options = parser.parse_args()
    need("wrk", "wrk")
    figures: dict[str, list[dict[str, float]]] = {server: [] for server in SERVERS}
    with tempfile.TemporaryDirectory() as folder:
        prepared_stores(Path(folder))
        for turn in range(options.rounds):
            for number, (server, command) in enumerate(SERVERS.items()):
                port = 8950 + 10 * turn + number
                with the_service(command, port, Path(folder)):
                    figures[server].append(measured(f"http://127.0.0.1:{port}{QUERY}", options.seconds))
    print_ratios("update check, one worker on one core, 32 connections", figures, (next(iter(SERVERS)),))


if __name__ == "__main__":
    main()
