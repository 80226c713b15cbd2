"""What a person sees: text, JSON, a progress bar, a question."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aggregation.cli.options import NOT_DONE, USAGE

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print JSON, as it is where it is piped into something."""
    if console.is_terminal:
        console.print_json(json.dumps(value))
    else:
        sys.stdout.write(json.dumps(value, indent=2) + "\n")


def several(count: int, noun: str) -> str:
    """Return a count with its noun: "1 number", "2 numbers"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def were(count: int) -> str:
    """Return the verb for so many."""
    return "was" if count == 1 else "were"


def confirmed(question: str, yes: bool) -> None:
    """Ask, unless ``yes``, and end without anything done where the answer is no, or nobody is there to give one."""
    if yes:
        return
    if not sys.stdin.isatty():
        errors.print(f"{question} Say so with --yes, because nobody can be asked here. Nothing was written.", markup=False)
        raise typer.Exit(USAGE)
    if not typer.confirm(question):
        errors.print("Nothing was written.")
        raise typer.Exit(NOT_DONE)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar while reports are read, on a terminal; elsewhere there is none, and None comes of it."""
    if not errors.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("reports"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(what, total=None)

        def told(read: int, total: int) -> None:
            progress.update(task, completed=read, total=total)

        yield told
