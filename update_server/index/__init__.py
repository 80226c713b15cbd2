"""The plugin index."""
