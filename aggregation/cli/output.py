"""What a person sees: text, JSON, a progress bar, a prompt."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console, ConsoleDimensions
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

from aggregation.cli.options import NOT_DONE, USAGE

PIPE_COLUMNS = 1000
"""Columns of a pipe or file, so that no word is broken as for a terminal."""


class _Console(Console):
    """A console that asks for its width when it prints. Rich reads COLUMNS when a console is made, which is at import here."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False)
        self._width = None

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        return super().size if self.is_terminal else ConsoleDimensions(PIPE_COLUMNS, 25)


console = _Console()
errors = _Console(stderr=True)


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


def first_line(error: Exception) -> str:
    """Return the first line of what a database driver says, without the statement and its documentation."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def print_invalid_settings(error: ValidationError, prefix: str) -> None:
    """Print a line for each setting that is wrong. ``prefix``: of the environment variables."""
    for problem in error.errors():
        name = "_".join(str(part) for part in problem["loc"]).upper()
        message = problem["msg"].removeprefix("Value error, ")
        errors.print(f"{prefix}{name}: {message}" if name else message, style="red", markup=False)


@contextmanager
def progress_bar(what: str, unit: str | None = "reports") -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on a terminal, and yield the function that moves it: done, total. Elsewhere yield None.

    ``unit``: of the count; None for a spinner.
    """
    if not errors.is_terminal:
        yield None
        return
    counted: tuple[ProgressColumn, ...] = (BarColumn(), MofNCompleteColumn(), TextColumn(unit)) if unit else (SpinnerColumn(),)
    with Progress(TextColumn("{task.description}"), *counted, TimeElapsedColumn(), console=errors, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
