"""Example requests, built from the wire types."""

import json

from napari_telemetry.wire import SCHEMA_VERSION, Level, fields_of


def example_batch(level: Level) -> str:
    """Return a batch with every field of a level, as JSON."""
    report = {field.name: field.example for field in fields_of(level)}
    batch = {"schema_version": SCHEMA_VERSION, "consent": {"level": level, "schema_version": SCHEMA_VERSION}, "report": report}
    return json.dumps(batch, indent=2)
