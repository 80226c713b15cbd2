"""Public certificates: pages, files, keys and verification."""
