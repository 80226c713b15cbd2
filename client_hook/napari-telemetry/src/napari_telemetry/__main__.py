"""``python -m napari_telemetry``: the command, where its script is not on the path."""

from napari_telemetry.cli import main

main()
