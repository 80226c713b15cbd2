"""Build an example request from the wire types, with every field of a level."""

import json

from napari_telemetry.wire import SCHEMA_VERSION, Level, fields_of


def example_batch(level: Level) -> str:
    report = {field.name: field.example for field in fields_of(level)}
    batch = {"schema_version": SCHEMA_VERSION, "consent": {"level": level, "schema_version": SCHEMA_VERSION}, "report": report}
    return json.dumps(batch, indent=2)
