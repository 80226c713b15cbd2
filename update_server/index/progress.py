"""Progress of a long job: a bar on a terminal, log lines elsewhere."""

import contextlib
import time
from collections.abc import Iterator

import structlog

from aggregation.cli.output import progress_bar
from update_server.index.sources.projects import Progress

SECONDS_BETWEEN_LINES = 2.0

log = structlog.get_logger()


@contextlib.contextmanager
def shown_progress(
    text: str = "reading the plugin index", event: str = "index_building", unit: str = "projects"
) -> Iterator[Progress]:
    with progress_bar(text, unit) as bar:
        if bar is not None:
            yield bar
            return
        last = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal last
            if done in (0, total) or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                log.info(event, **{unit: done}, of=total)

        yield report
