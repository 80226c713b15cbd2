"""Update checks for napari, and telemetry with consent alone."""

__version__ = "0.1.0"
