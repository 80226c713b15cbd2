"""Options, exit codes, and validation of arguments."""

import difflib
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import typer
from napari_telemetry.weeks import start_of

from aggregation.catalogue import CATALOGUE, Entry

NOT_DONE, USAGE = 1, 2

NowOption = Annotated[datetime | None, typer.Option("--now", help="Act as if it were this instant (ISO, UTC), for rehearsals.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


class UsageError(Exception):
    """An impossible request; the message says what to do. Nothing was written."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a suggestion such as " Did you mean affinder?", or ""."""
    near = difflib.get_close_matches(name, list(known), 3)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def entry_of(name: str) -> Entry:
    """Raises UsageError."""
    for entry in CATALOGUE:
        if entry.id == name:
            return entry
    hint = did_you_mean(name, [entry.id for entry in CATALOGUE])
    raise UsageError(f"There is no entry {name[:64]!r} in the catalogue.{hint} `python -m aggregation catalogue` lists all.")


def checked_week(text: str | None) -> str | None:
    """Raises InvalidWeekError."""
    if text is not None:
        start_of(text)
    return text


def checked_reason(text: str) -> str:
    """Return a reason fit for publication. Raises UsageError."""
    reason = " ".join(text.split())
    if len(reason) < 10:
        raise UsageError("The reason is public, permanently: give it as a sentence of at least 10 letters.")
    if len(reason) > 500:
        raise UsageError("The reason is public: write at most 500 letters.")
    if re.search(r"[0-9a-f]{32}", re.sub(r"[\s:_-]", "", reason), re.IGNORECASE):
        raise UsageError("The reason is public and contains an identifier: remove it.")
    return reason
