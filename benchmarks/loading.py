"""Shared code of the serving benchmarks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from aggregation.settings import AggregationSettings, Store
from migrations import upgrade

TABLE = "/api/updates/pypi.json"
READY = "/health/ready"
"""Path of the readiness check. It answers 200 only after compression, which uses the measured core."""
GRANIAN = ["-m", "granian", "--interface", "asgi", "--factory", "--workers", "1", "--no-ws", "--log-level", "warning"]


def require_program(program: str, package: str) -> None:
    """Exit if a program is not installed."""
    if shutil.which(program) is None:
        raise SystemExit(f"{program} is missing: apt-get install {package}")


def pin_to_core(core: int, command: list[str]) -> list[str]:
    """Return the command pinned to a core, or unchanged without ``taskset`` or a second core."""
    return ["taskset", "-c", str(core), *command] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else command


def create_stores(data: Path) -> None:
    """Create both stores in a data folder."""
    for store in Store:
        url = AggregationSettings().model_copy(update={"data": data}).url(store)
        assert url is not None
        asyncio.run(upgrade(store, url))


@contextlib.contextmanager
def run_server(command: list[str], url: str, **environment: str) -> Iterator[int]:
    """Run a server on the first core; yield its process id once ``url`` answers.

    A 503 for overdue reports also counts, because no scheduler runs.
    """
    process = subprocess.Popen(pin_to_core(0, command), env=os.environ | environment, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.get(url)
                if answer.status_code == 200 or '"overdue"' in answer.text:
                    break
            time.sleep(0.1)
        else:
            raise SystemExit(f"The server did not start: {' '.join(command)}")
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def requests_per_second(url: str, seconds: int, headers: Mapping[str, str]) -> float:
    options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    command = pin_to_core(1, ["wrk", "-t", "1", "-c", "32", "-d", f"{seconds}s", *options, url])
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"Requests/sec:\s+([0-9.]+)", answer)
    if match is None or ("Non-2xx" in answer and "if-none-match" not in headers):
        raise SystemExit(answer)
    return float(match[1])


def processor_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants (Linux)."""
    ticks, found = 0, {pid}
    below: dict[int, list[int]] = {}
    times = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            number = int(path.parent.name)
            below.setdefault(int(fields[1]), []).append(number)
            times[number] = int(fields[11]) + int(fields[12])
    while found:
        number = found.pop()
        ticks += times.get(number, 0)
        found |= set(below.get(number, ()))
    return ticks / os.sysconf("SC_CLK_TCK")


def measured(url: str, seconds: int, pid: int) -> dict[str, float]:
    """Measure a server; return requests per second and CPU microseconds per request, for responses 200 and 304."""
    accept = {"accept-encoding": "br"}
    etag = httpx.get(url, headers=accept).headers["etag"]
    known = accept | {"if-none-match": etag}
    if httpx.get(url, headers=known).status_code != 304:
        raise SystemExit(f"{url} does not answer 304")
    figures = {}
    for kind, headers in (("200", accept), ("304", known)):
        before = processor_seconds(pid)
        figures[kind] = requests_per_second(url, seconds, headers)
        figures[f"{kind} us"] = (processor_seconds(pid) - before) / (figures[kind] * seconds) * 1e6
    return figures


def print_ratios(title: str, figures: Mapping[str, list[dict[str, float]]], references: tuple[str, ...]) -> None:
    """Print medians, and ratios to ``references``; "us" is the CPU time per request."""
    kinds = next(iter(figures.values()))[0].keys()
    columns = []
    for kind in kinds:
        is_time = kind.endswith("us")
        columns += [f"{kind}"] if is_time else [f"{kind} /s", *(f"to {name}" for name in references)]
    table = Table("", *columns, title=title)
    medians = {
        name: {kind: statistics.median(one[kind] for one in rounds) for kind in rounds[0]} for name, rounds in figures.items()
    }
    for name, found in medians.items():
        cells = []
        for kind in kinds:
            if kind.endswith("us"):
                cells.append(f"{found[kind]:.1f}")
            else:
                cells += [f"{found[kind]:,.0f}", *(f"{found[kind] / medians[reference][kind]:.2f}" for reference in references)]
        table.add_row(name, *cells)
    Console(width=120).print(table)
