"""The effective level, and when to ask."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from napari_telemetry import consent_rules
from napari_telemetry.consent_rules import ConsentRecord, PromptReason, decide, open_prompt, prompt_due
from napari_telemetry.settings import Maximum, SiteRules, TelemetrySettings
from napari_telemetry.wire import SCHEMA_VERSION, TELEMETRY_LEVELS, Level, WireField, fields_of

from tests.support.client import NOON, SERVER

DAY = timedelta(days=1)
OTHER = "https://other.example"


def settings(environ: dict[str, str] | None = None, site: SiteRules | None = None, server: str = SERVER) -> TelemetrySettings:
    servers = dict.fromkeys(TELEMETRY_LEVELS, server)
    return TelemetrySettings(server, servers, Path("unused"), site or SiteRules(), environ or {})


def answered(level: Level, *, schema: int = SCHEMA_VERSION, until: datetime | None = None) -> ConsentRecord:
    return ConsentRecord(NOON - 100 * DAY, level, schema, SERVER, until, "test")


@pytest.mark.promise("consent-has-limits")
def test_consent_applies_to_one_service_only() -> None:
    decision = decide(answered(Level.MIDDLE), settings(server=OTHER), NOON)
    assert decision.level is Level.NONE
    assert SERVER in str(decision.reason)


@pytest.mark.promise("consent-has-limits")
def test_consent_for_a_time_ends() -> None:
    record = answered(Level.MIDDLE, until=NOON)
    assert decide(record, settings(), NOON - timedelta(seconds=1)).level is Level.MIDDLE
    assert decide(record, settings(), NOON).level is Level.NONE


@pytest.mark.parametrize("maximum", Level)
def test_the_preferences_limit_the_level_and_never_raise_it(maximum: Level) -> None:
    limited = replace(settings(), preferences=lambda: Maximum(maximum, is_chosen=True))
    decision = decide(answered(Level.MIDDLE), limited, NOON)
    assert decision.level is (maximum if Level.MIDDLE.includes(maximum) else Level.MIDDLE)
    assert ("Preferences" in str(decision.reason)) is (decision.level is not Level.MIDDLE)
    assert decide(answered(Level.NONE), limited, NOON).level is Level.NONE


@pytest.mark.promise("asked-three-times")
@pytest.mark.parametrize(
    ("asked_days_ago", "is_due"),
    [
        ([], True),
        ([29], False),
        ([30], True),
        ([60, 29], False),
        ([90, 60], True),
        ([90, 60, 30], False),
        ([300, 200, 100], False),
    ],
)
def test_unanswered_it_is_asked_again_after_30_days_three_times_in_all(asked_days_ago: list[int], is_due: bool) -> None:
    assert prompt_due([NOON - days * DAY for days in asked_days_ago], None, NOON) is is_due
    prompt = open_prompt(None, settings(), NOON)
    assert prompt is not None
    assert prompt.reason is PromptReason.FIRST


@pytest.mark.parametrize(
    ("record", "server", "is_installed", "reason"),
    [
        (answered(Level.BASIC, until=NOON), SERVER, True, PromptReason.ENDED),
        (answered(Level.BASIC, schema=SCHEMA_VERSION - 1), SERVER, True, PromptReason.GROWN),
        (answered(Level.BASIC), OTHER, True, PromptReason.ELSEWHERE),
        (answered(Level.BASIC), SERVER, False, PromptReason.REMOVED),
    ],
)
def test_it_comes_back_when_consent_no_longer_fits(
    record: ConsentRecord, server: str, is_installed: bool, reason: PromptReason
) -> None:
    prompt = open_prompt(record, settings(server=server), NOON, is_installed=is_installed)
    assert prompt is not None
    assert (prompt.reason, prompt.previous) == (reason, record)
    assert prompt_due([NOON - 200 * DAY] * 3, record, NOON), "prompts before the answer do not count"
    assert not prompt_due([NOON - 90 * DAY, NOON - 60 * DAY, NOON - 30 * DAY], record, NOON), "three after it do"


@pytest.mark.promise("asked-three-times")
@pytest.mark.parametrize("level", [Level.NONE])
def test_no_stays_no_also_elsewhere_and_for_a_larger_schema(level: Level) -> None:
    record = answered(level, schema=SCHEMA_VERSION - 1)
    assert open_prompt(record, settings(server=OTHER), NOON) is None


def test_no_one_is_asked_where_telemetry_is_switched_off() -> None:
    for off in (settings({"NAPARI_TELEMETRY": "0"}), settings({"CI": "true"}), settings(site=SiteRules(telemetry=False))):
        assert open_prompt(None, off, NOON) is None


@pytest.mark.promise("consent-has-limits")
def test_a_grown_schema_stops_everything_until_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the next release collected another field."""
    record = answered(Level.FULL)
    assert decide(record, settings(), NOON).level is Level.FULL
    monkeypatch.setattr(consent_rules, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    assert decide(record, settings(), NOON).level is Level.NONE
    grown = [*fields_of(Level.FULL), WireField("gpu", "text", "make of the GPU", "x", SCHEMA_VERSION + 1)]
    monkeypatch.setattr(consent_rules, "fields_of", lambda level: grown if level is Level.FULL else fields_of(level))
    prompt = open_prompt(record, settings(), NOON)
    assert prompt is not None
    assert [change.name for change in prompt.changes] == ["gpu"]
