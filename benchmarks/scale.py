"""Measure one, two and four web processes behind Caddy on PostgreSQL, as in compose.yaml.

    python -m benchmarks.scale --replay serve_upstream.py [--seconds N] [--json]

All programs share the cores, so the table shows requests per CPU second of each program. 99 of 100 update checks get a 304.
Linux only. Needs wrk, Caddy, PostgreSQL and nss_wrapper (Debian: apt-get install wrk caddy postgresql libnss-wrapper).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.intake import SCRIPT, body_with_plugins
from benchmarks.loading import READY, require_program
from tests.simulation.processes import Upstream
from tests.support.installation import SITE, Installation, running_installation
from tests.support.waiting import wait_until

CHECKS = """
local turn = 0
function request()
  turn = turn + 1
  local headers = {["accept-encoding"] = "gzip"}
  if turn %% 100 ~= 0 then headers["if-none-match"] = [==[%s]==] end
  return wrk.format("GET", nil, headers)
end
function done(summary, latency)
  io.write(string.format("\\nFIGURES %%f %%f %%f %%d\\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.errors.status))
end
"""
CLOCK = os.sysconf("SC_CLK_TCK")
PROCESSES = (1, 2, 4)
CONNECTIONS = 32


@dataclass(frozen=True)
class Figures:
    """The result of a measurement. ``per_core``: requests per CPU second of each program."""

    kind: str
    processes: int
    per_second: float
    p50_ms: float
    p99_ms: float
    per_core: dict[str, float]


def process_tree(root: int) -> set[int]:
    """Return a process and its descendants."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = set(), [root]
    while waiting:
        one = waiting.pop()
        found.add(one)
        waiting += parents.get(one, [])
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """Return the CPU seconds of processes, including descendants and exited children."""
    total = 0
    for root in roots:
        for one in process_tree(root):
            try:
                fields = (Path("/proc") / str(one) / "stat").read_text("utf-8").rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(map(int, fields[11:15]))
    return total / CLOCK


def programs_of(installation: Installation, caddy: int) -> dict[str, list[int]]:
    postgres = [int((cluster.folder / "data" / "postmaster.pid").read_text().split()[0]) for cluster in (installation.raw,)]
    return {"web": [process.pid for process in installation.servers.values()], "Caddy": [caddy], "PostgreSQL": postgres}


def wrk(
    folder: Path, installation: Installation, host: str, path: str, script: Path, seconds: int
) -> tuple[float, float, float, int]:
    """Run wrk; return the rate, p50 and p99 in ms, and the number of requests."""
    hosts = folder / "hosts"
    hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in (SITE, f"middle.{SITE}")), "utf-8")
    library = next(Path("/usr/lib").glob("**/libnss_wrapper.so"), None)
    if library is None:
        raise SystemExit("nss_wrapper is missing: apt-get install libnss-wrapper")
    command = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "--latency", "-s", str(script)]
    answer = subprocess.run(
        [*command, f"https://{host}:{installation.https}{path}"],
        env=os.environ | {"LD_PRELOAD": str(library), "NSS_WRAPPER_HOSTS": str(hosts)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    match = re.search(r"FIGURES ([0-9.]+) ([0-9.]+) ([0-9.]+) ([0-9]+)", answer)
    total = re.search(r"([0-9]+) requests in", answer)
    if match is None or total is None or match[4] != "0":
        raise SystemExit(f"{host}{path}: some requests failed\n{answer}")
    return float(match[1]), float(match[2]), float(match[3]), int(total[1])


def is_ready(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}{READY}", timeout=30).status_code == 200


def measure(folder: Path, upstream: str, seconds: int, processes: int) -> list[Figures]:
    own = folder / str(processes)
    own.mkdir()
    unlimited = {
        "UPDATE_SERVER_REPORTS_PER_MINUTE": "0",
        "UPDATE_SERVER_REPORTS_PER_DAY": "0",
        "UPDATE_SERVER_ACCESS_LOG": "false",
    }
    figures = []
    with running_installation(own, upstream, servers=processes, **unlimited) as installation:
        etag = installation.client().get("/api/updates/pypi.json", headers={"accept-encoding": "gzip"}).headers["etag"]
        for port in installation.servers:
            wait_until(partial(is_ready, port), "a web process did not become ready", seconds=180)
        checks, reports = own / "checks.lua", own / "reports.lua"
        checks.write_text(CHECKS % etag, "utf-8")
        reports.write_text(SCRIPT % (body_with_plugins(), processes), "utf-8")
        for kind, host, path, script in (
            ("update checks, 99 of 100 unchanged", SITE, "/api/updates/pypi.json", checks),
            ("reports of 12 plugins", f"middle.{SITE}", "/api/updates/middle?python=3.11&channel=pypi", reports),
        ):
            wrk(own, installation, host, path, script, 1)
            programs = programs_of(installation, installation.caddy)
            before = {name: cpu_seconds(numbers) for name, numbers in programs.items()}
            rate, p50, p99, total = wrk(own, installation, host, path, script, seconds)
            used = {name: cpu_seconds(numbers) - before[name] for name, numbers in programs.items()}
            per_core = {name: total / spent for name, spent in used.items() if spent > 0.05}
            figures.append(Figures(kind, processes, rate, p50, p99, per_core))
    return figures


def show(figures: list[Figures]) -> None:
    programs = ("web", "Caddy", "PostgreSQL")
    table = Table("", "web processes", "/s here", "p50", "p99", *(f"per CPU second of {name}" for name in programs))
    for one in sorted(figures, key=lambda one: (one.kind, one.processes), reverse=False):
        cores = [f"{one.per_core[name]:,.0f}" if name in one.per_core else "" for name in programs]
        table.add_row(
            one.kind, str(one.processes), f"{one.per_second:,.0f}", f"{one.p50_ms:.1f} ms", f"{one.p99_ms:.1f} ms", *cores
        )
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=8, help="seconds per measurement")
    replay = os.environ.get("NAPARI_INDEX_REPLAY")
    parser.add_argument("--replay", type=Path, default=replay, help="the program that replays the real plugin index")
    parser.add_argument("--json", action="store_true", help="print JSON for scripts")
    options = parser.parse_args()
    require_program("wrk", "wrk")
    require_program("caddy", "caddy")
    figures: list[Figures] = []
    if options.replay is None:
        parser.error("set --replay to the program that replays the real plugin index")
    upstream = Upstream(options.replay)
    upstream.show(datetime.now(UTC).date())
    try:
        with tempfile.TemporaryDirectory() as name:
            for processes in PROCESSES:
                print(f"measuring {processes} web processes", file=sys.stderr)
                figures += measure(Path(name), upstream.url, options.seconds, processes)
    finally:
        upstream.stop()
    print(json.dumps([asdict(one) for one in figures], indent=2)) if options.json else show(figures)


if __name__ == "__main__":
    main()
