"""Run ``napari-updates`` with ``python -m napari_update_hook``."""

from napari_update_hook.cli import main

main()
