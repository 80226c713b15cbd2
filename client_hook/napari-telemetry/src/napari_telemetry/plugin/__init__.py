"""The part that runs inside napari. Only ``plugin.qt`` imports Qt."""
