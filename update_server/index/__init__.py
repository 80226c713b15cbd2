"""The plugin index: what there is, who it fits, and how it is kept fresh and served."""
