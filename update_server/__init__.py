"""The service: plugin index, updates that fit your Python, telemetry intake, public statistics."""

__version__ = "0.1.0"
