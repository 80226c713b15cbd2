"""The command ``napari-updates``: what it prints, and its exit codes."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

import typer

from napari_telemetry import __version__
from napari_telemetry.cli import checking, consenting, own_reports, public_numbers, snoozing, starting
from napari_telemetry.cli.options import FAILURE, UNREACHABLE, USAGE
from napari_telemetry.errors import ServerUnreachableError, SettingsError, UpdateHookError
from napari_telemetry.terminal import fail, say

app = typer.Typer(
    help="See which updates of napari and its plugins your Python can install.\n\nA check sends your Python "
    "version, where your packages come from, and the version of a released napari. Anything more is sent only if you agreed to "
    "telemetry: `napari-updates consent --help`.",
    epilog="Exit codes: 0 done, 1 failure, 2 wrong use, 3 the server can't be reached, 10 there are updates.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options of the command itself; each acts by its callback."""


checking.add_to(app)
snoozing.add_to(app)
consenting.add_to(app)
own_reports.add_to(app)
public_numbers.add_to(app)
starting.add_to(app)


def main() -> None:
    """Run the command; every foreseen error is one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # a console of Windows may know fewer characters
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        app()
    except ServerUnreachableError as error:
        fail(str(error))
        sys.exit(UNREACHABLE)
    except SettingsError as error:
        fail(str(error))
        sys.exit(USAGE)
    except UpdateHookError as error:
        fail(str(error))
        sys.exit(FAILURE)
