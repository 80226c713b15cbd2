"""Sources of the index."""
