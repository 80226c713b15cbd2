"""The command ``napari-telemetry``: what it prints, and its exit codes."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

import typer

from napari_telemetry import __version__
from napari_telemetry.cli import consenting, own_reports, public_numbers, standing
from napari_telemetry.cli.options import FAILURE, UNREACHABLE, USAGE
from napari_telemetry.errors import ServerUnreachableError, SettingsError, UpdateHookError
from napari_telemetry.terminal import fail, say

app = typer.Typer(
    help="Weekly usage reports for napari's maintainers, sent with an update check and only with your consent.\n\nNothing is "
    "sent unless you agree: `napari-telemetry consent --help`.",
    epilog="Exit codes: 0 done, 1 failure, 2 wrong use, 3 the server cannot be reached.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables print "<bool>" beside each switch
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


standing.add_to(app)
consenting.add_to(app)
own_reports.add_to(app)
public_numbers.add_to(app)


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
