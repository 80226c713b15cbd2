"""Operation: health, logs, metrics, scheduled jobs."""
