"""``startup``: how to have napari start with this package attached, and whether it does."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import typer
from packaging.version import Version

from napari_update_hook.cli.options import JsonOption
from napari_update_hook.plugin.starting import SCRIPT
from napari_update_hook.terminal import plain, say, say_command, say_json, warn

VARIABLE = "NAPARI_APPLICATION_STARTUP_SCRIPT"
FIRST_WITH_SCRIPT = Version("0.6.5")
"""The first napari that runs a start-up script."""


@dataclass(frozen=True)
class Startup:
    """How napari starts here.

    ``script``: the file to choose; ``is_active``: whether napari runs it; ``set_by``: what makes it do so. ``other``: another
    script that napari runs instead. ``problem``: why napari does not run it, or why that is not known.
    """

    script: str
    is_active: bool
    set_by: str | None = None
    other: str | None = None
    problem: str | None = None


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(startup)


def startup(as_json: JsonOption = False) -> None:
    """Show how to start napari with the update check, and whether it starts so now.

    Nothing of this package runs in napari by itself: choose one of these ways. This command changes nothing.
    """
    found = startup_here()
    if as_json:
        say_json(found)
        return
    if found.is_active:
        say(f"On: napari runs the start-up script, set by {found.set_by}.")
    else:
        say("Off: plain `napari` runs nothing of this package, except the widget that you open in its menu Plugins.")
    if found.other:
        warn(f"Another start-up script is set, by {found.set_by}: {found.other}. There is room for one; add to it these lines:")
        for line in SCRIPT.read_text("utf-8").splitlines():
            if line and not line.startswith('"""'):
                say_command(line)
    if found.problem:
        warn(found.problem)
    say("To start napari with it, once or always, instead of the command napari:")
    say_command("napari-hooked")
    say(
        "For yourself, whenever napari is started by its command: Preferences > Application > Startup script. Choose this file:"
    )
    say_command(found.script)
    say("For everybody on a computer, as an administrator: set this environment variable for all sessions.")
    say_command(f"{VARIABLE}={found.script}")


def startup_here() -> Startup:
    """Return how napari of this environment starts. Reads napari's settings, and changes nothing."""
    script = str(SCRIPT)
    try:
        version = Version(metadata.version("napari"))
    except metadata.PackageNotFoundError:
        return Startup(script, False, problem="napari is not installed in this environment.")
    if version < FIRST_WITH_SCRIPT:
        problem = f"napari {version} runs no start-up script; {FIRST_WITH_SCRIPT} is the first that does. Use napari-hooked."
        return Startup(script, False, problem=problem)
    by_variable = os.environ.get(VARIABLE)
    try:
        from napari.settings import get_settings

        chosen = str(get_settings().application.startup_script or "")
    except Exception as error:  # settings of somebody else's, in a file that people edit
        return Startup(script, False, problem=f"napari's settings cannot be read: {error}")
    set_by = f"the environment variable {VARIABLE}" if by_variable else "napari's Preferences"
    if not chosen or Path(chosen) == Path():
        return Startup(script, False)
    if Path(chosen).expanduser().resolve() == SCRIPT.resolve():
        return Startup(script, True, set_by)
    return Startup(script, False, set_by, other=str(plain(chosen)))
