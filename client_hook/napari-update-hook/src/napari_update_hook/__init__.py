"""Updates of napari and its plugins that work together in your environment."""

from __future__ import annotations

__version__ = "0.1.0"
