"""Compare the intake of reports with handlers that only validate, or that commit each report separately.

    python -m benchmarks.intake [--seconds N] [--rounds N] [--postgresql URL]

The server runs on one core, wrk with 32 connections on another; reports list 12 plugins. Needs wrk (Debian: apt-get install
wrk). Goal: 60 % of the rate of the handler that stores nothing, with a 99th percentile below 60 ms.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from napari_telemetry.weeks import week_of
from napari_telemetry.wire import Level
from rich.console import Console
from rich.table import Table

from benchmarks.loading import GRANIAN, READY, create_stores, pin_to_core, require_program, run_server
from tests.support.batches import batch_json
from update_server.index import snapshot
from update_server.index.store import SEED

PLUGINS = 12
PATH = "/api/updates/middle"
SCRIPT = """
local body = [==[%s]==]
local thread = 0
function setup(t) thread = thread + 1; t:set("number", thread) end
function init() math.randomseed(os.time() + number * 7919 + %d) end
function request()
  local identifier = string.format("%%08x%%08x%%08x%%08x", math.random(0, 0x7fffffff), math.random(0, 0x7fffffff),
    math.random(0, 0x7fffffff), math.random(0, 0x7fffffff))
  return wrk.format("POST", nil, {["content-type"] = "application/json"}, (body:gsub("IDENTIFIER", identifier)))
end
function done(summary, latency)
  io.write(string.format("\\nFIGURES %%f %%f %%f %%d\\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.errors.status))
end
"""
HANDLERS = {
    "the service": "update_server.app:create_asgi_app",
    "stores nothing": "benchmarks.intake_handlers:create_discarding_app",
    "a commit each": "benchmarks.intake_handlers:create_unbatched_app",
}


def body_with_plugins() -> str:
    """Return a request body with the placeholder IDENTIFIER."""
    index = snapshot.read(SEED)
    assert index is not None
    packages = index.facts.packages
    named = [(package.key, package.published_finals) for package in packages if package.key != "napari"]
    plugins = [{"name": key, "version": versions[-1]} for key, versions in named if versions][:PLUGINS]
    batch = batch_json(Level.MIDDLE, plugins=plugins, week=week_of(datetime.now(UTC)), identifier="IDENTIFIER")
    return json.dumps(batch)


def measure_url(url: str, seconds: int, script: Path) -> tuple[float, float, float]:
    """Measure a server; return reports per second, and p50 and p99 in milliseconds."""
    command = pin_to_core(1, ["wrk", "-t", "1", "-c", "32", "-d", f"{seconds}s", "--latency", "-s", str(script), url])
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"FIGURES ([0-9.]+) ([0-9.]+) ([0-9.]+) ([0-9]+)", answer)
    if match is None or match[4] != "0":
        raise SystemExit(f"{url}: some reports were rejected\n{answer}")
    return float(match[1]), float(match[2]), float(match[3])


def measure(name: str, port: int, options: argparse.Namespace, folder: Path, **environment: str) -> tuple[float, float, float]:
    data = folder / f"data-{port}"
    create_stores(data)
    script = folder / "reports.lua"
    script.write_text(SCRIPT % (body_with_plugins(), port))
    settings = {
        "UPDATE_SERVER_DATA": str(data),
        "UPDATE_SERVER_JOBS": "false",
        "UPDATE_SERVER_LOG_LEVEL": "error",
        "UPDATE_SERVER_REPORTS_PER_MINUTE": "0",
        "UPDATE_SERVER_REPORTS_PER_DAY": "0",
    } | environment
    command = [sys.executable, *GRANIAN, "--port", str(port), "--host", "127.0.0.1", HANDLERS[name]]

    with run_server(command, f"http://127.0.0.1:{port}{READY}", **settings):
        url = f"http://127.0.0.1:{port}{PATH}"
        measure_url(url, 1, script)  # warm up
        return measure_url(url, options.seconds, script)


def print_table(figures: Mapping[str, list[tuple[float, float, float]]]) -> None:
    table = Table("", "reports /s", "ratio", "p50", "p99", title=f"{PLUGINS} plugins, one core, 32 connections")
    medians = {
        name: [statistics.median(one[place] for one in rounds) for place in range(3)] for name, rounds in figures.items()
    }
    for name, (rate, median, most) in medians.items():
        ratio = rate / medians["stores nothing"][0]
        table.add_row(name, f"{rate:,.0f}", f"{ratio:.2f}", f"{median:.1f} ms", f"{most:.1f} ms")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=6, help="seconds per measurement")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; the table shows medians")
    parser.add_argument("--postgresql", help="URL of an empty database to measure the service on as well")
    options = parser.parse_args()
    require_program("wrk", "wrk")
    figures: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        for turn in range(options.rounds):
            for number, handler in enumerate(HANDLERS):
                port = 8870 + 10 * turn + number
                figures.setdefault(handler, []).append(measure(handler, port, options, Path(name)))
            if options.postgresql:
                figures.setdefault("the service, PostgreSQL", []).append(
                    measure("the service", 8879 + 10 * turn, options, Path(name), AGGREGATION_RAW_URL=options.postgresql)
                )
    print_table(figures)


if __name__ == "__main__":
    main()
