"""Measure the client's cost inside napari: imports, counting, and the CPU time of an update check.

    python -m benchmarks.client [--rounds N]

Import times come from ``python -X importtime``; that of ``json`` shows how slow the machine is. The check runs in a daemon
thread, as in napari, against a server in another process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from napari_update_hook.client import UpdateClient
from napari_update_hook.environment import read_environment
from napari_update_hook.installers import detect_install
from napari_update_hook.settings import Settings
from napari_update_hook.state import State
from rich.console import Console
from rich.table import Table

LIMITS = {"import napari_update_hook": "< 5 ms", "import napari_telemetry": "< 5 ms", "count": "< 20 µs", "check": "< 150 ms"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    table = Table("what", "median", "worst", "limit")
    for module in ("json", "napari_update_hook", "napari_update_hook.client", "napari_telemetry"):
        times = [import_ms(module) for _ in range(rounds)]
        limit = LIMITS.get(f"import {module}", "")
        table.add_row(f"import {module}", f"{statistics.median(times):.2f} ms", f"{max(times):.2f} ms", limit)
    for name, once in counters().items():
        times = [microseconds_per_call(once) for _ in range(rounds)]
        table.add_row(name, f"{statistics.median(times):.2f} µs", f"{max(times):.2f} µs", LIMITS["count"])
    times = check_cpu_ms(rounds)
    table.add_row("update check: CPU", f"{statistics.median(times):.0f} ms", f"{max(times):.0f} ms", LIMITS["check"])
    Console().print(table)


def import_ms(module: str) -> float:
    """Return the import time of a module in milliseconds, including its dependencies."""
    return (_all_imports_us(f"import {module}") - _all_imports_us("pass")) / 1000


def _all_imports_us(code: str) -> float:
    command = [sys.executable, "-X", "importtime", "-c", code]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    times = [line.removeprefix("import time:").split("|")[0].strip() for line in lines if line.startswith("import time:")]
    return float(sum(int(own) for own in times if own.isdigit()))


def counters() -> dict[str, Callable[[], Any]]:
    """Return the counting calls to measure, by name."""
    import dask.array
    import tensorstore
    import xarray
    import zarr
    from napari_telemetry.plugin.counting import Collector
    from napari_update_hook.settings import system_now

    folder = Path(tempfile.mkdtemp())
    collector = Collector()
    collector.now = system_now
    collector.count_under(1)
    pixels = np.zeros((512, 512), "uint16")
    data = {
        "numpy": pixels,
        "multiscale list": [pixels, pixels[::2]],
        "dask": dask.array.ones((512, 512), dtype="uint16", chunks=64),
        "zarr": zarr.open(str(folder / "a.zarr"), mode="w", shape=(5000, 5000), dtype="uint16"),
        "xarray": xarray.DataArray(pixels),
        "tensorstore": tensorstore.array(pixels),
    }
    named: dict[str, Callable[[], Any]] = {"command": lambda: collector.command("napari.window.file.open_files_dialog")}
    for name, value in data.items():
        named[f"layer, {name}"] = lambda value=value: collector.layer("image", value)  # type: ignore[misc]
    named["layer, 1,000 shapes"] = lambda shapes=[pixels] * 1000: collector.layer("shapes", shapes)  # type: ignore[misc]
    return named


def microseconds_per_call(once: Callable[[], Any]) -> float:
    number = 2000
    before = time.perf_counter()
    for _ in range(number):
        once()
    return (time.perf_counter() - before) / number * 1e6


def check_cpu_ms(rounds: int) -> list[float]:
    """Return the CPU time of each check in milliseconds, without the first check, which also imports modules."""
    with tempfile.TemporaryDirectory() as folder, table_server() as url:
        settings = Settings(url, Path(folder))

        def check() -> None:
            UpdateClient(settings, State(settings.state, "here"), read_environment(), detect_install()).check()

        times = []
        for _ in range(rounds + 1):
            thread = threading.Thread(target=check, daemon=True)
            before = time.process_time()
            thread.start()
            thread.join()
            times.append((time.process_time() - before) * 1000)
    return times[1:]


@contextlib.contextmanager
def table_server() -> Iterator[str]:
    """Serve an update table as large as that of August 2026; yield its URL."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(sender,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{receiver.recv()}"
    finally:
        process.terminate()
        process.join()


def serve(pipe: Connection) -> None:
    packages = {f"plugin-{number}": {"releases": [{"version": "1.0.0", "requires_python": ">=3.9"}]} for number in range(660)}
    head = {"schema_version": 2, "channel": "pypi", "index_version": "2026-11-28T20:00:00Z", "check_again_s": 86400}
    body = json.dumps(head | {"packages": packages}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_address[1])
    server.serve_forever()


if __name__ == "__main__":
    main()
