"""Upstream sources of the index."""
