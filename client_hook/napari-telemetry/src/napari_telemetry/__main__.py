"""``python -m napari_telemetry`` is the command ``napari-telemetry``."""

from napari_telemetry.cli import main

main()
