"""Web pages, rendered on the server. They send no requests to third parties."""
