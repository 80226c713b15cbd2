"""Terminal output: text, JSON, a progress bar, prompts."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console, ConsoleDimensions
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

from aggregation.cli.options import EXIT_FAILURE, EXIT_USAGE

PIPE_COLUMNS = 1000
"""Width for pipes and files: wide enough to avoid line breaks."""


class _Console(Console):
    """A console that reads its width at each print. Rich reads COLUMNS only at creation, here at import."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False)
        self._width = None

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        return super().size if self.is_terminal else ConsoleDimensions(PIPE_COLUMNS, 25)


console = _Console()
errors = _Console(stderr=True)


def print_json(value: Any) -> None:
    if console.is_terminal:
        console.print_json(json.dumps(value))
    else:
        sys.stdout.write(json.dumps(value, indent=2) + "\n")


def quantity(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def were(count: int) -> str:
    return "was" if count == 1 else "were"


def confirm_or_exit(question: str, yes: bool) -> None:
    """Ask for confirmation; exit if it is denied or there is no terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        errors.print(f"{question} This is not a terminal: confirm with --yes. Nothing was written.", markup=False)
        raise typer.Exit(EXIT_USAGE)
    if not typer.confirm(question):
        errors.print("Nothing was written.")
        raise typer.Exit(EXIT_FAILURE)


def first_line(error: Exception) -> str:
    """Return a database driver's message without the SQL statement and the link to SQLAlchemy's documentation."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def print_invalid_settings(error: ValidationError, prefix: str) -> None:
    for problem in error.errors():
        name = "_".join(str(part) for part in problem["loc"]).upper()
        message = problem["msg"].removeprefix("Value error, ")
        errors.print(f"{prefix}{name}: {message}" if name else message, style="red", markup=False)


@contextmanager
def progress_bar(what: str, unit: str | None = "reports") -> Iterator[Callable[[int, int], None] | None]:
    """Yield a function (done, total) that updates the bar, or None if standard error is not a terminal.

    ``unit``: what is counted; None shows a spinner.
    """
    if not errors.is_terminal:
        yield None
        return
    counted: tuple[ProgressColumn, ...] = (BarColumn(), MofNCompleteColumn(), TextColumn(unit)) if unit else (SpinnerColumn(),)
    with Progress(TextColumn("{task.description}"), *counted, TimeElapsedColumn(), console=errors, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
