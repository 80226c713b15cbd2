"""What the commands of the service share: where they print, and how they read settings or say what is wrong."""

from __future__ import annotations

import typer
from pydantic import ValidationError
from rich.console import Console

from aggregation.settings import AggregationSettings
from update_server.operations import logs
from update_server.settings import Settings

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def read_settings() -> Settings:
    """The settings, or a message for each that is wrong, and exit code 2."""
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            message = problem["msg"].removeprefix("Value error, ")
            prefix = "AGGREGATION_" if error.title == AggregationSettings.__name__ else "UPDATE_SERVER_"
            errors.print(f"{prefix}{name}: {message}" if name else message, style="red", markup=False)
        raise typer.Exit(2) from error
    logs.configure(settings.log_format, settings.log_level)
    return settings


def reason_of(error: Exception) -> str:
    """The first line of what a database driver says, without the statement and its documentation."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]
