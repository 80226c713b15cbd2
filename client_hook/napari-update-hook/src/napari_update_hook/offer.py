"""The message that offers usage reports, shown once per environment, and the installation of napari-telemetry (NAP-8)."""

from __future__ import annotations

import importlib
import subprocess
from importlib.util import find_spec

from napari_update_hook import __version__
from napari_update_hook.client import UpdateClient
from napari_update_hook.environment import Environment
from napari_update_hook.errors import InstallError
from napari_update_hook.index import takes_reports
from napari_update_hook.installers import InstallCommands, InstallEnvironment, add_command, remove_command
from napari_update_hook.settings import opt_out_variable, site_controls_reports
from napari_update_hook.state import State

PACKAGE, MODULE = "napari-telemetry", "napari_telemetry"
VERSION = __version__
"""Both packages are released together."""
OWNS_PACKAGE_NAME = False
"""Whether the project owns the package name. If not, installing it could run a stranger's code."""
INSTALL_TIMEOUT_S = 600

MESSAGE = "napari's maintainers ask whether you would share weekly usage reports with them. Nothing is sent unless you agree."
WHAT_IS_THIS, NO_THANKS, INSTALL = "What is this?", "No thanks", "Install napari-telemetry"
EXPLANATION = (
    "A small team builds napari and hardly knows how many people use it. A weekly report (versions and system; if you "
    "choose, also which public plugins and commands you use) helps them decide what to support. It becomes public statistics: "
    "counts of people, never below ten. Reports are deleted after 60 days.",
    "The code is in a separate package, napari-telemetry, which is not on this computer yet. If you install it, you are asked "
    "next what may be sent, and you see the exact content. Nothing is sent before you answer.",
    "To stop: run napari-telemetry off, or uninstall the package. The update check does not depend on your choice.",
)
DOWNLOAD_NOTICE = "The package index sees this download, like any other."
NOT_YET = "This release cannot install it: the project does not own the name napari-telemetry on the package index yet."
INSTALLED = "napari-telemetry is already installed. To see its status: napari-telemetry status"


def is_installed() -> bool:
    """Return whether napari-telemetry is installed. Rescan, because this process may have installed it."""
    importlib.invalidate_caches()
    return find_spec(MODULE) is not None


def should_offer(client: UpdateClient) -> bool:
    """Return whether to show the message: once per environment, and only if the user can decide."""
    environ = client.settings.environ
    return (
        OWNS_PACKAGE_NAME
        and not client.state.was_offered()
        and not is_installed()
        and opt_out_variable(environ) is None
        and not site_controls_reports(environ)
        and takes_reports(client.state.read_check().answers, client.settings.server) is True
    )


def how_to_install(place: InstallEnvironment, environment: Environment) -> InstallCommands:
    if not OWNS_PACKAGE_NAME:
        return InstallCommands(reason=NOT_YET)
    own = environment.distributions.get("napari-update-hook")
    return add_command(place, own.installer if own is not None else "", PACKAGE, VERSION)


def how_to_uninstall(place: InstallEnvironment, environment: Environment) -> InstallCommands:
    own = environment.distributions.get(PACKAGE)
    return remove_command(place, own.installer if own is not None else "", PACKAGE)


def run(how: InstallCommands) -> None:
    """Run the commands. Raises InstallError with the last line of the output."""
    for command in how.commands:
        try:
            done = subprocess.run(
                command.argv, capture_output=True, text=True, errors="replace", check=False, timeout=INSTALL_TIMEOUT_S,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InstallError(f"{command.argv[0]} could not be run: {error}") from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise InstallError(f"`{command}` failed: {said[-1] if said else 'it gave no reason'}")
    importlib.invalidate_caches()


def decline(state: State) -> None:
    """Never show the message again. Raises StateError."""
    state.record_offer()
