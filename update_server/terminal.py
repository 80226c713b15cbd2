"""Settings and consoles shared by the service's commands."""

from typing import NoReturn

import typer
from pydantic import ValidationError

from aggregation.cli.output import console, errors, first_line, print_invalid_settings
from aggregation.settings import AggregationSettings
from update_server.operations import logs
from update_server.settings import Settings

__all__ = ["console", "errors", "fail", "first_line", "read_settings"]


def read_settings() -> Settings:
    """Read the settings and configure logging; exit with an explanation if a setting is invalid."""
    try:
        settings = Settings()
    except ValidationError as error:
        print_invalid_settings(error, "AGGREGATION_" if error.title == AggregationSettings.__name__ else "UPDATE_SERVER_")
        raise typer.Exit(2) from error
    logs.configure(settings.log_format, settings.log_level)
    return settings


def fail(message: str, code: int = 1) -> NoReturn:
    """Print an error and exit with ``code``."""
    errors.print(message, style="red", markup=False)
    raise typer.Exit(code)
