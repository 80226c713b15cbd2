"""What the client remembers: one SQLite file for each Python environment, one for the user's account."""

from napari_update_hook.state.answers import CachedAnswer
from napari_update_hook.state.sendings import SentBatch
from napari_update_hook.state.store import ClientStore, environment_name

__all__ = ["CachedAnswer", "ClientStore", "SentBatch", "environment_name"]
