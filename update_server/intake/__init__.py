"""Telemetry intake: decoding, validation, rate limits, storage."""
