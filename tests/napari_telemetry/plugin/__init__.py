"""What runs inside napari, without napari and without Qt; `tests.inside_napari` has the rest."""
