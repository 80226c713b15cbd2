"""What runs inside napari, once a person agreed or opened the page. Only ``plugin.qt`` knows Qt."""
