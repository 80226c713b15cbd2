"""Where the facts of the index come from."""
