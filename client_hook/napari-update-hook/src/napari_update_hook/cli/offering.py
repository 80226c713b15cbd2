"""The ``telemetry`` command, which explains usage reports and installs napari-telemetry."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from napari_update_hook import offer
from napari_update_hook.cli.options import FAILURE
from napari_update_hook.client import current_client
from napari_update_hook.errors import InstallError
from napari_update_hook.terminal import is_interactive, say, say_command, waiting

NoThanksOption = Annotated[bool, typer.Option("--no-thanks", help="Never show the message about usage reports in napari.")]


def add_to(app: typer.Typer) -> None:
    """Add the command, hidden in the help because it is not about updates."""
    app.command(hidden=True)(telemetry)


def telemetry(no_thanks: NoThanksOption = False) -> None:
    """Explain usage reports, and install napari-telemetry if you agree. This sends nothing."""
    client = current_client()
    if no_thanks:
        offer.decline(client.state)
        say("You will not be asked again in this environment.")
        return
    if offer.is_installed():
        say(offer.INSTALLED)
        return
    for paragraph in offer.EXPLANATION:
        say(paragraph)
    how = offer.how_to_install(client.install, client.environment)
    if how.reason is not None:
        say(how.reason)
        return
    say(offer.DOWNLOAD_NOTICE)
    for command in how.commands:
        say_command(str(command))
    if not is_interactive():
        say("Not a terminal, so nothing was installed. Run this command yourself, then `napari-telemetry consent ask`.")
        return
    if not typer.confirm("Install it?", default=False):
        offer.decline(client.state)
        say("Nothing was installed. You will not be asked again in this environment.")
        return
    try:
        with waiting("Installing"):
            offer.run(how)
    except InstallError as error:
        say(str(error))
        raise typer.Exit(FAILURE) from error
    raise typer.Exit(subprocess.run([sys.executable, "-m", offer.MODULE, "consent", "ask"], check=False).returncode)
