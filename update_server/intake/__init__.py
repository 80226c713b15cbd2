"""Telemetry batches in: what is allowed, what is valid, what was stored."""
