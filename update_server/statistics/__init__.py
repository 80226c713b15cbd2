"""Statistics API: public numbers, read only from the aggregate store."""
