"""The command ``napari-updates``: what it prints, and its exit codes."""

from __future__ import annotations

from napari_update_hook import __version__
from napari_update_hook.cli import checking, offering, snoozing, starting, updating
from napari_update_hook.cli.options import new_app, run_app

app = new_app(
    __version__,
    "Updates of napari and its plugins that work together in your environment.\n\nA check downloads one file, the same "
    "for everybody, and compares it with what is installed. It tells the server nothing about you.",
    "0 done, 1 failure, 2 wrong use, 3 the server cannot be reached, 10 there are updates",
)
checking.add_to(app)
updating.add_to(app)
snoozing.add_to(app)
starting.add_to(app)
offering.add_to(app)


def main() -> None:
    """Run the command."""
    run_app(app)
