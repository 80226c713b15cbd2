"""Shared options and exit codes, and functions that create and run the app."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated

import typer

from napari_update_hook.errors import ServerUnreachableError, SettingsError, UpdateHookError
from napari_update_hook.terminal import fail, say

DONE, FAILURE, USAGE, UNREACHABLE, UPDATES = 0, 1, 2, 3, 10

ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server", metavar="URL", help="Address of the update server, or file:///… Default: NAPARI_UPDATE_SERVER, "
        "else https://api.napari.org"
    ),
]  # fmt: skip
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
BuildOption = Annotated[bool, typer.Option("--build", help="Allow building source distributions, which runs their code.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def new_app(version: str, about: str, exit_codes: str) -> typer.Typer:
    app = typer.Typer(
        help=about,
        epilog=f"Exit codes: {exit_codes}.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # with Rich, the help shows "<bool>" beside each flag
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def print_version(wanted: bool) -> None:
        if wanted:
            say(version)
            raise typer.Exit

    @app.callback()
    def options(
        version: bool = typer.Option(
            False, "--version", callback=print_version, is_eager=True, help="Print the version and exit."
        ),
    ) -> None:
        """Do nothing; the options have callbacks."""

    return app


def run_app(app: typer.Typer) -> None:
    """Run the app; print known errors as messages, and exit with their code."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # Windows consoles may lack characters
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
