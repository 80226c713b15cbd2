"""The service: plugin index, updates for your Python, telemetry intake, public statistics."""

from aggregation import __version__

__all__ = ["__version__"]
