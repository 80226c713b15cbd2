"""Checks before a napari plugin is released: who could install it, and who no longer could."""

__version__ = "0.1.0"
