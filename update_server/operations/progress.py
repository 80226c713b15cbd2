"""How what takes long shows that it is alive: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from update_server.index.sources.reading import Progress as Report

SECONDS_BETWEEN_LINES = 2.0

log = structlog.get_logger()


@contextlib.contextmanager
def shown_progress(
    text: str = "reading the plugin index", event: str = "index_building", what: str = "projects"
) -> Iterator[Report]:
    """Give a function to report progress to, while inside. ``text``: beside a bar; ``event`` and ``what``: of the log lines."""
    if sys.stderr.isatty():
        columns = (TextColumn(text), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if done in (0, total) or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            log.info(event, **{what: done}, of=total)

    yield report
