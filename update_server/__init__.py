"""The service: plugin index, updates that fit your Python, telemetry intake, public statistics."""

from aggregation import __version__

__all__ = ["__version__"]
