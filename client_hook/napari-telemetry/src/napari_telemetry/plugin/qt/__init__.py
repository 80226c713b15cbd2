"""Qt windows that draw the session's snapshot. No file or network access."""
