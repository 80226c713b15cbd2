from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from napari_telemetry.wire import (
    SCHEMA_VERSION,
    TELEMETRY_LEVELS,
    Batch,
    Level,
    batch_decoder,
    fields_of,
)

from tests.support.batches import batch_json


def decode(level: Level, batch: dict[str, Any]) -> Batch[Any]:
    return batch_decoder(level).decode(json.dumps(batch))


@pytest.mark.parametrize("level", TELEMETRY_LEVELS)
def test_the_example_of_each_level_is_valid_and_survives_a_round_trip(level: Level) -> None:
    batch = batch_json(level)
    assert json.loads(msgspec.json.encode(decode(level, batch))) == batch


@pytest.mark.parametrize("level", TELEMETRY_LEVELS)
def test_every_field_is_described_with_an_example(level: Level) -> None:
    for field in fields_of(level):
        assert field.description, field.name
        assert field.example is not None, field.name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("week", "2026-W47\n"),
        ("week", "٢٠٢٦-W47"),
        ("identifier", "9754D8F20E8124A25BB6D86C393F257A"),
        ("identifier", "9754d8f20e8124a25bb6d86c393f257a\n"),
        ("environment", "5be1a0c"),
        ("revision", 0),
        ("revision", 10**400),
        ("python_version", "3.11.4"),
        ("python_version", "2.7"),
        ("napari_version", "x" * 65),
        ("first_report", 1),
        ("plugins", [{"name": "affinder", "version": "0.5.0", "path": "/home/me"}]),
        ("plugins", [{"name": "affinder", "version": "0.5.0"}] * 10_000),
        ("command_usage", {"a.b": 7}),
        ("data_size_info", [{"layer": "image"}]),
        ("hostname", "my-laptop"),
    ],
)
def test_undeclared_and_invalid_fields_are_rejected(field: str, value: Any) -> None:
    batch = batch_json(Level.FULL)
    batch["report"][field] = value
    with pytest.raises(msgspec.ValidationError):
        decode(Level.FULL, batch)


COLLECTED = {
    1: {
        "week: text", "identifier: text", "environment: text", "revision: whole number", "napari_version: text",
        "python_version: text", "platform: text", "cpu_architecture: text", "sys_name: text", "first_report: yes or no",
        "plugins: list of {name, version}", "command_usage: text → 1 or 10 or 100 or 1000",
        "data_size_info: list of {layer, size_category, ndim, class, dtype, count}",
    },
}  # fmt: skip
"""Fields by schema version. Never change a released version; a new field needs a new version."""


def test_collected_fields_match_the_schema_version() -> None:
    """A new or larger field without a new SCHEMA_VERSION would be collected without consent."""
    assert set(COLLECTED) == set(range(1, SCHEMA_VERSION + 1))
    described = {f"{field.name}: {field.type}": field.since for level in TELEMETRY_LEVELS for field in fields_of(level)}
    for version, fields in COLLECTED.items():
        assert {field for field, since in described.items() if since == version} == fields
