"""``python -m napari_update_hook.cli``: the command, where its script is not on the path."""

from napari_update_hook.cli import main

main()
