"""The napari plugin. Only ``plugin.qt`` imports Qt."""
