"""Options that several commands have, and the exit codes."""

from __future__ import annotations

from typing import Annotated

import typer

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
