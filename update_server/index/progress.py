"""Progress of a long job: a progress bar on a terminal, otherwise log lines."""

import contextlib
import time
from collections.abc import Iterator

import structlog

from aggregation.cli.output import progress_bar
from update_server.index.sources.projects import Progress

LOG_INTERVAL_S = 2.0

log = structlog.get_logger()


@contextlib.contextmanager
def show_progress(
    text: str = "reading the plugin index", event: str = "index_building", unit: str = "projects"
) -> Iterator[Progress]:
    """Yield a function that reports progress."""
    with progress_bar(text, unit) as bar:
        if bar is not None:
            yield bar
            return
        last = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal last
            if done in (0, total) or time.monotonic() - last >= LOG_INTERVAL_S:
                last = time.monotonic()
                log.info(event, **{unit: done}, of=total)

        yield report
