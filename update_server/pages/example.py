"""What a level sends, by example, and since when: made from what the wire types carry, so it can't show less than is sent."""

from __future__ import annotations

import json

from msgspec import Struct
from napari_telemetry.wire import SCHEMA_VERSION, TELEMETRY_LEVELS, Level, fields_of


def example_batch(level: Level) -> str:
    """Return the body of an example request at ``level``, as indented JSON."""
    report = {field.name: field.example for field in fields_of(level)}
    batch = {"schema_version": SCHEMA_VERSION, "consent": {"level": level, "schema_version": SCHEMA_VERSION}, "report": report}
    return json.dumps(batch, indent=2)


class SchemaChange(Struct, frozen=True):
    """Fields that a version of the schema brought, by the lowest level that sends them."""

    version: int
    level: str
    fields: list[str]


def schema_history() -> list[SchemaChange]:
    """Return what each version of the schema added, the newest first."""
    changes = []
    for version in range(SCHEMA_VERSION, 0, -1):
        told: set[str] = set()
        for level in TELEMETRY_LEVELS:
            new = [field.name for field in fields_of(level) if field.since == version and field.name not in told]
            told.update(new)
            if new:
                changes.append(SchemaChange(version, str(level), new))
    return changes
