"""Tests without napari and Qt; `tests.inside_napari` has the others."""
