"""Sample batches of each level."""

from __future__ import annotations

from typing import Any

from napari_telemetry.wire import SCHEMA_VERSION, Level, fields_of


def batch_json(level: Level, **changes: Any) -> dict[str, Any]:
    report = {field.name: field.example for field in fields_of(level)} | changes
    return {
        "schema_version": SCHEMA_VERSION,
        "consent": {"level": str(level), "schema_version": SCHEMA_VERSION},
        "report": report,
    }
