"""The command ``napari-updates``: what it prints, and its exit codes."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_update_hook import __version__
from napari_update_hook.cli import checking, offering, snoozing, starting, updating
from napari_update_hook.cli.options import run_app
from napari_update_hook.terminal import say

app = typer.Typer(
    help="Updates of napari and its plugins that work together in your environment.\n\nA check downloads one file, the same "
    "for everybody, and compares it with what is installed. It tells the server nothing about you.",
    epilog="Exit codes: 0 done, 1 failure, 2 wrong use, 3 the server cannot be reached, 10 there are updates.",
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


checking.add_to(app)
updating.add_to(app)
snoozing.add_to(app)
starting.add_to(app)
offering.add_to(app)


def main() -> None:
    """Run the command."""
    run_app(app)
