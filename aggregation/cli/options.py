"""Options, exit codes, and validation of arguments."""

import difflib
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import typer
from napari_telemetry.weeks import start_of

from aggregation.catalogue import CATALOGUE, Entry

EXIT_FAILURE, EXIT_USAGE = 1, 2

NowOption = Annotated[datetime | None, typer.Option("--now", help="Use this time (ISO, UTC) as the current time.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation prompt.")]


class UsageError(Exception):
    """An impossible request; the message says what to do. Nothing has been written."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a suggestion such as " Did you mean affinder?", or ""."""
    near = difflib.get_close_matches(name, list(known), 3)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def find_entry(name: str) -> Entry:
    """Return the entry with this id. Raises UsageError."""
    for entry in CATALOGUE:
        if entry.id == name:
            return entry
    hint = did_you_mean(name, [entry.id for entry in CATALOGUE])
    raise UsageError(f"There is no entry {name[:64]!r} in the catalogue.{hint} `python -m aggregation catalogue` lists all.")


def validate_week(text: str | None) -> str | None:
    """Return a valid week or None unchanged. Raises InvalidWeekError."""
    if text is not None:
        start_of(text)
    return text


def validate_reason(text: str) -> str:
    """Return a reason, with normalized spaces, that may be published. Raises UsageError."""
    reason = " ".join(text.split())
    if len(reason) < 10:
        raise UsageError("The reason stays public: write a sentence of at least 10 characters.")
    if len(reason) > 500:
        raise UsageError("The reason stays public: write at most 500 characters.")
    if re.search(r"[0-9a-f]{32}", re.sub(r"[\s:_-]", "", reason), re.IGNORECASE):
        raise UsageError("The reason is public and contains an identifier: remove it.")
    return reason
