"""Run the command: ``python -m napari_telemetry``."""

from napari_telemetry.cli import main

main()
