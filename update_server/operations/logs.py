"""Log lines: events with fields, as text on a terminal and as JSON elsewhere (structlog).

Nothing that is logged may hold an address, an identifier or the text of a request. There is no access log.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


def configure(form: Literal["auto", "json", "text"], level: str) -> None:
    """Set up logging for the process. ``form`` auto: text where standard error is a terminal."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        processors += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    else:
        processors += [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # looked up for each line, so that a progress bar can put lines above itself
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
