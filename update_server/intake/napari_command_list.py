"""Generates the list of napari's own commands from installed releases, in a subprocess without plugins."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

HEADER = """# Command ids of napari itself, one a line, sorted: those that released versions register.
# Made by `update-server lists napari-commands`; a command of this list may be named in a report at level full.
# Versions read: """

_ASK = """
import napari, tempfile, os
from napari._qt._qapp_model.qactions import init_qactions
from napari._qt.qt_event_loop import get_qapp
get_qapp()
try:
    from napari._app_model import get_app_model
except ImportError:
    from napari._app_model import get_app as get_app_model
app = get_app_model()
init_qactions()
print("version", napari.__version__)
for command in app.commands:
    print("command", command[0] if isinstance(command, tuple) else command)
"""


class NapariError(Exception):
    """The commands of a napari could not be read."""


def add_commands(pythons: Sequence[Path], output: Path) -> Iterator[str]:
    """Add the commands of each Python's napari to ``output``; yield a line for each. Raises NapariError."""
    lines = output.read_text("utf-8").splitlines() if output.exists() else []
    commands = {line for line in lines if line and not line.startswith("#")}
    versions = {part for line in lines if line.startswith("# Versions read: ") for part in line[17:].split(", ") if part}
    for python in pythons:
        version, found = _ask(python)
        versions.add(version)
        yield f"napari {version}: {len(found)} commands, {len(found - commands)} of them new"
        commands |= found
    order = sorted(versions, key=lambda text: [int(part) for part in text.split(".") if part.isdigit()])
    output.write_text(HEADER + ", ".join(order) + "\n" + "\n".join(sorted(commands)) + "\n", "utf-8")


def _ask(python: Path) -> tuple[str, set[str]]:
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "NAPARI_ASYNC": "0"}
    answer = subprocess.run([python, "-c", _ASK], env=environment, capture_output=True, text=True, timeout=180, check=False)
    told = [line.split(" ", 1) for line in answer.stdout.splitlines() if line.startswith(("version ", "command "))]
    versions = [value for kind, value in told if kind == "version"]
    if answer.returncode or not versions:
        raise NapariError(f"{python}: can't read its commands: {answer.stderr.strip().splitlines()[-1:] or 'no answer'}")
    # only napari's ids, not those of plugins in that environment
    return versions[0], {value for kind, value in told if kind == "command" and value.startswith("napari.")}
