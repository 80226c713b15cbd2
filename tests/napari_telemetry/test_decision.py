from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from napari_telemetry.decision import ConsentRecord, decide, parsed_duration
from napari_telemetry.settings import ClientSettings, SiteRules
from napari_telemetry.wire import SCHEMA_VERSION, TELEMETRY_LEVELS, Level

NOW = datetime(2026, 11, 24, tzinfo=timezone.utc)
SERVER = "https://updates.example"


def settings(environ: dict[str, str] | None = None, site: SiteRules | None = None, server: str = SERVER) -> ClientSettings:
    return ClientSettings(server, dict.fromkeys(TELEMETRY_LEVELS, server), Path("unused"), site or SiteRules(), environ or {})


def record(level: Level = Level.MIDDLE, until: datetime | None = None, schema: int = SCHEMA_VERSION) -> ConsentRecord:
    return ConsentRecord(NOW - timedelta(days=1), level, schema, SERVER, until, "test")


@pytest.mark.promise("consent-has-limits")
def test_consent_holds_for_one_service_alone() -> None:
    decision = decide(record(), settings(server="https://other.example"), NOW)
    assert decision.level is Level.NONE
    assert SERVER in str(decision.reason)


@pytest.mark.promise("consent-has-limits")
def test_consent_for_a_time_ends() -> None:
    assert decide(record(until=NOW + timedelta(seconds=1)), settings(), NOW).level is Level.MIDDLE
    assert decide(record(until=NOW), settings(), NOW).level is Level.NONE


@pytest.mark.parametrize(("text", "days"), [("90d", 90), ("12w", 84), ("3m", 90), (" 1D ", 1)])
def test_lengths_of_time_are_read(text: str, days: int) -> None:
    assert parsed_duration(text) == timedelta(days=days)


@pytest.mark.parametrize("text", ["", "90", "0d", "-1d", "1y", "1d2"])
def test_other_lengths_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="length of time"):
        parsed_duration(text)
