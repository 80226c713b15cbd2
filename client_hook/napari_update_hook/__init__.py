"""Update checks for napari that know your Python, and telemetry with consent alone.

Importing this package costs nothing: what needs a library is loaded when it is used.
"""

__version__ = "0.1.0"
