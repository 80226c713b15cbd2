"""Options that several commands have, and the exit codes."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
import typer

from napari_telemetry.terminal import out

FAILURE, USAGE, UNREACHABLE = 1, 2, 3

ServerOption = Annotated[
    str | None,
    typer.Option("--server", help="Address of the update server. Default: NAPARI_UPDATE_SERVER, else https://api.napari.org"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def print_json(value: Any) -> None:
    """Print a struct, or a list or dict of them, as JSON."""
    out.print_json(json.dumps(msgspec.to_builtins(value, str_keys=True)))
