"""``telemetry``: what usage reports are, and the installation of the package for them, as the message in napari offers it."""

from __future__ import annotations

import subprocess
import sys
from typing import Annotated

import typer

from napari_update_hook import offer
from napari_update_hook.cli.options import FAILURE
from napari_update_hook.client import client_here
from napari_update_hook.errors import InstallError
from napari_update_hook.terminal import is_interactive, say, say_command, waiting

NoThanksOption = Annotated[bool, typer.Option("--no-thanks", help="Do not show the message about it in napari.")]


def add_to(app: typer.Typer) -> None:
    """Add the command. Help does not list it: people who only want updates need not read about usage reports."""
    app.command(hidden=True)(telemetry)


def telemetry(no_thanks: NoThanksOption = False) -> None:
    """Explain usage reports, and install napari-telemetry if you agree to that. Nothing is sent by it."""
    client = client_here()
    if no_thanks:
        offer.decline(client.state)
        say("You are not asked in this environment any more.")
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
    say(offer.INDEX_SEES_IT)
    for command in how.commands:
        say_command(str(command))
    if not is_interactive():
        say("Not a terminal: run this command yourself, then `napari-telemetry consent ask`.")
        return
    if not typer.confirm("Install it?", default=False):
        offer.decline(client.state)
        say("Nothing was installed. You are not asked in this environment any more.")
        return
    try:
        with waiting("Installing"):
            offer.run(how)
    except InstallError as error:
        say(str(error))
        raise typer.Exit(FAILURE) from error
    raise typer.Exit(subprocess.run([sys.executable, "-m", offer.MODULE, "consent", "ask"], check=False).returncode)
