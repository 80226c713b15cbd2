"""What the client remembers: one SQLite file for each Python environment, one for the user's account."""

from napari_telemetry.state.answers import CachedAnswer
from napari_telemetry.state.sendings import SentBatch
from napari_telemetry.state.store import ClientStore, environment_name

__all__ = ["CachedAnswer", "ClientStore", "SentBatch", "environment_name"]
