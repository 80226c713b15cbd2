"""Public numbers, from the aggregate store only."""
