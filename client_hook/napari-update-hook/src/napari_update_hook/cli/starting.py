"""The ``startup`` command, which shows how to start napari with this package attached."""

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
FIRST_VERSION_WITH_SCRIPT = Version("0.6.5")


@dataclass(frozen=True)
class Startup:
    """How napari is set up to start.

    ``is_active``: whether napari runs ``script``. ``other``: the script that it runs instead. ``problem``: why it does
    not run ``script``, or why that is unknown.
    """

    script: str
    is_active: bool
    set_by: str | None = None
    other: str | None = None
    problem: str | None = None


def add_to(app: typer.Typer) -> None:
    app.command()(startup)


def startup(as_json: JsonOption = False) -> None:
    """Show how to start napari with the update check, and whether that is set up.

    This command changes nothing.
    """
    found = detect_startup()
    if as_json:
        say_json(found)
        return
    if found.is_active:
        say(f"On: napari runs the start-up script, set by {found.set_by}.")
    else:
        say("Off: plain `napari` does not load this package, unless you open its widget in the Plugins menu.")
    if found.other:
        warn(f"Another start-up script is set, by {found.set_by}: {found.other}. napari runs only one; add these lines to it:")
        for line in SCRIPT.read_text("utf-8").splitlines():
            if line and not line.startswith('"""'):
                say_command(line)
    if found.problem:
        warn(found.problem)
    say("To start napari with the update check, run this instead of napari:")
    say_command("napari-hooked")
    say("To turn it on for yourself, choose this file in Preferences > Application > Startup script:")
    say_command(found.script)
    say("To turn it on for everyone on a computer, set this environment variable for all sessions, as an administrator:")
    say_command(f"{VARIABLE}={found.script}")


def detect_startup() -> Startup:
    script = str(SCRIPT)
    try:
        version = Version(metadata.version("napari"))
    except metadata.PackageNotFoundError:
        return Startup(script, False, problem="napari is not installed in this environment.")
    if version < FIRST_VERSION_WITH_SCRIPT:
        problem = f"napari {version} has no start-up script; {FIRST_VERSION_WITH_SCRIPT} and later have. Use napari-hooked."
        return Startup(script, False, problem=problem)
    by_variable = os.environ.get(VARIABLE)
    try:
        from napari.settings import get_settings

        chosen = str(get_settings().application.startup_script or "")
    except Exception as error:  # napari's settings may be edited by hand
        return Startup(script, False, problem=f"napari's settings cannot be read: {error}")
    set_by = f"the environment variable {VARIABLE}" if by_variable else "napari's Preferences"
    if not chosen or Path(chosen) == Path():
        return Startup(script, False)
    if Path(chosen).expanduser().resolve() == SCRIPT.resolve():
        return Startup(script, True, set_by)
    return Startup(script, False, set_by, other=str(plain(chosen)))
