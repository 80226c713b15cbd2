"""Tests in a real, unmodified napari: ``make test-napari`` makes environments for them and runs them."""
