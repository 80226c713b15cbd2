"""Check a release of a napari plugin: who can install it, and who no longer can."""

__version__ = "0.2.0"
