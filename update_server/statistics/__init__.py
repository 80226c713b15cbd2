"""Public numbers out, from the aggregate store alone."""
