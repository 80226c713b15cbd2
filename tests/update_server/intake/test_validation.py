"""Fields added by a later schema version, in reports of older and newer clients."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from msgspec import UNSET, Meta, UnsetType
from napari_telemetry import wire
from napari_telemetry.wire import BasicReport, Level, fields_of

from tests.support.batches import batch_json
from update_server.intake.validation import misplaced_field


class NewerReport(BasicReport, frozen=True, kw_only=True, forbid_unknown_fields=True):
    channel: Annotated[str | UnsetType, Meta(description="where from", examples=["pypi"], extra={"since": 2})] = UNSET


def test_a_report_has_exactly_the_fields_of_its_schema_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wire.REPORT_TYPES, Level.BASIC, NewerReport)
    fields_of.cache_clear()
    try:
        assert {field.name: field.type for field in fields_of(Level.BASIC)}["channel"] == "text"
        known = {name: value for name, value in batch_json(Level.BASIC)["report"].items() if name != "channel"}
        old, new = NewerReport(**known), NewerReport(**known, channel="pypi")
        assert misplaced_field(old, Level.BASIC, 1) is None
        assert misplaced_field(new, Level.BASIC, 2) is None
        assert misplaced_field(new, Level.BASIC, 1) == ("channel", "Reports of schema version 1 have no field channel.")
        assert misplaced_field(old, Level.BASIC, 2) == ("channel", "Object missing required field `channel`.")
        assert b"channel" not in msgspec.json.encode(old)
    finally:
        fields_of.cache_clear()
