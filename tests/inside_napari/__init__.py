"""Tests in a real, unmodified napari: ``make test-napari``."""
