"""Public certificates: pages, files, verification, keys."""
