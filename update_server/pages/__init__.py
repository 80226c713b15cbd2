"""Pages for people, rendered on the server, without a request to any third party."""
