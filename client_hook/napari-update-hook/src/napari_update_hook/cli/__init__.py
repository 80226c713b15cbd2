"""The ``napari-updates`` command."""

from __future__ import annotations

from napari_update_hook import __version__
from napari_update_hook.cli import checking, offering, snoozing, starting, updating
from napari_update_hook.cli.options import new_app, run_app

app = new_app(
    __version__,
    "Find updates of napari and its plugins that work together in your environment.\n\nA check downloads one file, the same "
    "for everyone, and compares it with the installed packages. It tells the server nothing about you.",
    "0 success, 1 failure, 2 usage error, 3 server unreachable, 10 updates available",
)
checking.add_to(app)
updating.add_to(app)
snoozing.add_to(app)
starting.add_to(app)
offering.add_to(app)


def main() -> None:
    run_app(app)
