"""A simulated year: does everything that is promised hold, and what does a year cost?

    python -m tests.simulation --replay serve_upstream.py [--people N] [--weeks N] [--first DAY] [--keep FOLDER]

Thousands of people with the real client, a real server process on SQLite, and releases that arrive as they did. People
answer the question, change their minds, let consent run out, withdraw, have everything deleted; clocks are wrong; the service
is killed, away, and replaced in the middle by a release that collects one field more; upstream services fail. Every sitting
is compared with a model that knows the rules apart from the client's code; at the end the public numbers must be those of the
model, and nothing raw may be left. Ends with 1 at the first thing that is wrong.
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
    """Read the arguments, live the year, print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    replay = os.environ.get("NAPARI_INDEX_REPLAY")
    parser.add_argument("--replay", type=Path, default=replay, help="the program that replays the real plugin index")
    parser.add_argument("--people", type=int, default=2000)
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument(
        "--first", type=date.fromisoformat, default=FIRST, help="the first day, a Monday (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep data and state in this folder, which must not exist")
    arguments = parser.parse_args()
    if arguments.replay is None:
        parser.error("--replay names the program that replays the real plugin index")
    if arguments.first.weekday() != 0:
        parser.error(f"--first {arguments.first} is no Monday")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=arguments.keep is None)
        year = Year(
            folder, arguments.replay, people=arguments.people, weeks=arguments.weeks, seed=arguments.seed, first=arguments.first
        )
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended also then
        try:
            with Progress(console=Console(stderr=True)) as bar:
                task = bar.add_task("starting")
                report = year.live(lambda what, done, of: bar.update(task, description=what, completed=done, total=of))
        except SimulationError as error:
            print(error, file=sys.stderr)
            return 1
    if not report.numbers_listed or not report.reports or not report.rows:
        print("Nothing was published: take more people or more weeks.", file=sys.stderr)
        return 1
    print(json.dumps(report.as_json(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
