"""``python -m napari_update_hook``: the command ``napari-updates``, where its script is not on the path."""

from napari_update_hook.cli import main

main()
