"""Log lines: events with fields, as text on a terminal and as JSON elsewhere (structlog).

Nothing that is logged may hold an address, an identifier or the text of a request. The access log (accounting.py) has none
of it, and tracebacks come without local variables: those of a handler hold all of it.
"""

import logging
import sys
from typing import Literal

import structlog
from structlog.tracebacks import ExceptionDictTransformer


def configure(form: Literal["auto", "json", "text"], level: str) -> None:
    """Set up logging for the process. ``form`` auto: text where standard error is a terminal."""
    as_json = form == "json" or (form == "auto" and not sys.stderr.isatty())
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        traceback = ExceptionDictTransformer(show_locals=False)
        processors += [structlog.processors.ExceptionRenderer(traceback), structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        processors += [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        # looked up for each line, so that a progress bar can put lines above itself
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
