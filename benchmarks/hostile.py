"""Measure how long refreshing from a hostile index blocks the event loop.

    python -m benchmarks.hostile [--projects N]

The benchmark refreshes from an ordinary and a hostile index, while a task on the event loop records the delay of each
of its ticks. The hostile projects stalled the service in the past, or stay just below a limit.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import multiprocessing.connection
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from aggregation.clock import Clock
from tests.support.sample_upstream import PLUGINS, FakeUpstream, SampleCondaFile, SampleFile, SampleProject
from update_server.index.refresh import refresh
from update_server.index.store import IndexStore
from update_server.settings import Settings

TICK_INTERVAL_S = 0.002


def ordinary_projects(count: int) -> Iterator[SampleProject]:
    yield from PLUGINS
    for number in range(count):
        yield SampleProject(
            f"ordinary-{number}",
            {f"1.{minor}": [SampleFile(">=3.9"), SampleFile(">=3.9", None)] for minor in range(10)},
        )


def hostile_projects(count: int) -> Iterator[SampleProject]:
    """Yield the sample plugins, and projects that are as expensive to process as possible."""
    yield from PLUGINS
    tags = ".".join(f"p{number}" for number in range(18))
    pythons = {f"1.{n}": [SampleFile(",".join(f"!=3.9.{18 * n + patch}" for patch in range(18)))] for n in range(171)}
    wheels = {f"1.{n}": [SampleFile(None, f"{tags}-{tags}-{tags}")] for n in range(300)}
    lines = [f"napari>=0.4.{n}; python_version < '3.0' or python_full_version == '3.9.{n}'" for n in range(5_000)]
    on_conda = [SampleCondaFile(f"1.{n}", [f"python !=3.9.{n}", f"napari !=0.4.{n}"]) for n in range(5_000)]
    markers = " or ".join(f"python_full_version == '3.9.{patch}'" for patch in range(8))
    needs = {f"1.{n}": [f"napari!=0.4.{n}", *(f"npe2!=0.{k}; {markers}" for k in range(10))] for n in range(60)}
    bounded = {version: [SampleFile(",".join(f"!=3.10.{patch}" for patch in range(20)))] for version in needs}
    kinds = (
        lambda name: SampleProject(name, bounded, requires_dist=needs),
        lambda name: SampleProject(name, pythons),
        lambda name: SampleProject(name, wheels, "1.0"),
        lambda name: SampleProject(name, {"1.0": [SampleFile()]}, requires_dist={"1.0": lines}),
        lambda name: SampleProject(name, {"1.0": [SampleFile()]}, conda=on_conda),
    )
    for number in range(count):
        yield kinds[number % len(kinds)](f"hostile-{number}")


def serve(projects: Sequence[SampleProject], pipe: multiprocessing.connection.Connection) -> None:
    """Serve the projects as an upstream index until the pipe receives a message."""
    with FakeUpstream(projects).served() as url:
        pipe.send(url)
        pipe.recv()


async def measure_refresh(folder: Path, url: str) -> tuple[float, list[float], int]:
    """Return the duration of a refresh, the delay of each tick (both in seconds) and the number of packages."""
    settings = Settings(data=folder, upstream=url, refresh_timeout_s=600)
    store = IndexStore(settings.snapshot_path, None, settings.check_again_s)
    late: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(TICK_INTERVAL_S)
            late.append(time.perf_counter() - before - TICK_INTERVAL_S)

    ticking = asyncio.create_task(tick())
    began = time.perf_counter()
    outcome = await refresh(settings, store, Clock(None), lambda *_: None)
    took = time.perf_counter() - began
    ticking.cancel()
    if outcome.error or store.loaded is None:
        raise SystemExit(f"the refresh failed: {outcome.error}")
    return took, late, len(store.loaded.packages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--projects", type=int, default=40, help="number of projects in each index")
    options = parser.parse_args()
    table = Table("index", "packages", "refresh, s", "longest pause, ms", "99th percentile, ms")
    context = multiprocessing.get_context("spawn")
    for name, projects in (("ordinary", ordinary_projects), ("hostile", hostile_projects)):
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(list(projects(options.projects)), theirs), daemon=True)
        process.start()
        with tempfile.TemporaryDirectory() as folder:
            took, late, packages = asyncio.run(measure_refresh(Path(folder), ours.recv()))
        ours.send("end")
        process.join(10)
        late.sort()
        figures = (f"{packages}", f"{took:.1f}", f"{late[-1] * 1000:.0f}", f"{late[int(len(late) * 0.99)] * 1000:.0f}")
        table.add_row(name, *figures)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
