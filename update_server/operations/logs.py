"""Log configuration. Logs must not contain addresses, identifiers or bodies, so tracebacks omit local variables."""

import logging
import sys
from typing import Literal

import structlog
from structlog.tracebacks import ExceptionDictTransformer


def configure(form: Literal["auto", "json", "text"], level: str) -> None:
    """Configure structlog to write to stderr. ``form``: auto for text on a terminal, otherwise JSON."""
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
        # look up stderr for each line, so that a progress bar can redirect it
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
