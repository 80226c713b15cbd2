"""What a level sends, by example: made from what the wire types carry, so it can't show less than is sent."""

import json

from napari_telemetry.wire import SCHEMA_VERSION, Level, fields_of


def example_batch(level: Level) -> str:
    """Return the body of an example request at ``level``, as indented JSON."""
    report = {field.name: field.example for field in fields_of(level)}
    batch = {"schema_version": SCHEMA_VERSION, "consent": {"level": level, "schema_version": SCHEMA_VERSION}, "report": report}
    return json.dumps(batch, indent=2)
