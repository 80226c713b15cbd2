"""Simulate a year: check that the service keeps its promises, and measure what a year costs.

    python -m tests.simulation --replay serve_upstream.py [--people N] [--weeks N] [--first DAY] [--keep FOLDER]

Thousands of people run the real client against a real server on SQLite. They consent, change their minds, let consent expire,
withdraw and delete. Clocks are wrong, upstream fails, and the service is killed, stopped, and upgraded halfway to a release
with one more field. Each session is compared with an independent model. At the end the public numbers must match the model,
and no raw data may be left. Exits with 1 at the first error.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tests.simulation.processes import SimulationError
from tests.simulation.year import FIRST, Year


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    replay = os.environ.get("NAPARI_INDEX_REPLAY")
    parser.add_argument("--replay", type=Path, default=replay, help="the program that replays the real plugin index")
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument(
        "--first", type=date.fromisoformat, default=FIRST, help="the first day, a Monday (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep data and state in this folder, which must not exist yet")
    arguments = parser.parse_args()
    if arguments.replay is None:
        parser.error("set --replay or NAPARI_INDEX_REPLAY to the program that replays the real plugin index")
    if arguments.first.weekday() != 0:
        parser.error(f"--first {arguments.first} is not a Monday")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=arguments.keep is None)
        year = Year(
            folder, arguments.replay, people=arguments.people, weeks=arguments.weeks, seed=arguments.seed, first=arguments.first
        )
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # run the cleanup that stops child processes
        try:
            with Progress(console=Console(stderr=True)) as bar:
                task = bar.add_task("starting")
                report = year.live(lambda what, done, of: bar.update(task, description=what, completed=done, total=of))
        except SimulationError as error:
            print(error, file=sys.stderr)
            return 1
    if not report.numbers_listed or not report.reports or not report.rows:
        print("Nothing was published: raise --people or --weeks.", file=sys.stderr)
        return 1
    print(json.dumps(report.as_json(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
