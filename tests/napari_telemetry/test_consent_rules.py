"""The effective level, and when to ask."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from napari_telemetry import consent_rules
from napari_telemetry.consent_rules import ConsentRecord, PromptReason, decide, pending_prompt, prompt_due
from napari_telemetry.settings import Maximum, SiteRules, TelemetrySettings
from napari_telemetry.wire import SCHEMA_VERSION, TELEMETRY_LEVELS, Level, WireField, fields_of

from tests.support.client import NOON, SERVER

DAY = timedelta(days=1)
OTHER = "https://other.example"


def settings(environ: dict[str, str] | None = None, site: SiteRules | None = None, server: str = SERVER) -> TelemetrySettings:
    servers = dict.fromkeys(TELEMETRY_LEVELS, server)
    return TelemetrySettings(server, servers, Path("unused"), site or SiteRules(), environ or {})


def make_record(level: Level, *, schema: int = SCHEMA_VERSION, until: datetime | None = None) -> ConsentRecord:
    return ConsentRecord(NOON - 100 * DAY, level, schema, SERVER, until, "test")


@pytest.mark.promise("consent-has-limits")
def test_consent_applies_to_one_service_only() -> None:
    decision = decide(make_record(Level.MIDDLE), settings(server=OTHER), NOON)
    assert decision.level is Level.NONE
    assert SERVER in str(decision.reason)


@pytest.mark.promise("consent-has-limits")
def test_time_limited_consent_expires() -> None:
    record = make_record(Level.MIDDLE, until=NOON)
    assert decide(record, settings(), NOON - timedelta(seconds=1)).level is Level.MIDDLE
    assert decide(record, settings(), NOON).level is Level.NONE


@pytest.mark.parametrize("maximum", Level)
def test_the_preferences_limit_the_level_and_never_raise_it(maximum: Level) -> None:
    limited = replace(settings(), preferences=lambda: Maximum(maximum, is_chosen=True))
    decision = decide(make_record(Level.MIDDLE), limited, NOON)
    assert decision.level is (maximum if Level.MIDDLE.includes(maximum) else Level.MIDDLE)
    assert ("Preferences" in str(decision.reason)) is (decision.level is not Level.MIDDLE)
    assert decide(make_record(Level.NONE), limited, NOON).level is Level.NONE


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
def test_unanswered_prompts_are_30_days_apart_and_at_most_three(asked_days_ago: list[int], is_due: bool) -> None:
    assert prompt_due([NOON - days * DAY for days in asked_days_ago], None, NOON) is is_due
    prompt = pending_prompt(None, settings(), NOON)
    assert prompt is not None
    assert prompt.reason is PromptReason.FIRST


@pytest.mark.parametrize(
    ("record", "server", "is_installed", "reason"),
    [
        (make_record(Level.BASIC, until=NOON), SERVER, True, PromptReason.ENDED),
        (make_record(Level.BASIC, schema=SCHEMA_VERSION - 1), SERVER, True, PromptReason.GROWN),
        (make_record(Level.BASIC), OTHER, True, PromptReason.ELSEWHERE),
        (make_record(Level.BASIC), SERVER, False, PromptReason.REMOVED),
    ],
)
def test_the_prompt_returns_when_consent_no_longer_applies(
    record: ConsentRecord, server: str, is_installed: bool, reason: PromptReason
) -> None:
    prompt = pending_prompt(record, settings(server=server), NOON, is_installed=is_installed)
    assert prompt is not None
    assert (prompt.reason, prompt.previous) == (reason, record)
    assert prompt_due([NOON - 200 * DAY] * 3, record, NOON), "prompts before the answer do not count"
    assert not prompt_due([NOON - 90 * DAY, NOON - 60 * DAY, NOON - 30 * DAY], record, NOON), "prompts after it do"


@pytest.mark.promise("asked-three-times")
@pytest.mark.parametrize("level", [Level.NONE])
def test_a_refusal_also_covers_other_servers_and_larger_schemas(level: Level) -> None:
    record = make_record(level, schema=SCHEMA_VERSION - 1)
    assert pending_prompt(record, settings(server=OTHER), NOON) is None


def test_no_prompt_if_telemetry_is_switched_off() -> None:
    for off in (settings({"NAPARI_TELEMETRY": "0"}), settings({"CI": "true"}), settings(site=SiteRules(telemetry=False))):
        assert pending_prompt(None, off, NOON) is None


@pytest.mark.promise("consent-has-limits")
def test_a_larger_schema_stops_sending_until_a_new_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a release that collects another field."""
    record = make_record(Level.FULL)
    assert decide(record, settings(), NOON).level is Level.FULL
    monkeypatch.setattr(consent_rules, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    assert decide(record, settings(), NOON).level is Level.NONE
    grown = [*fields_of(Level.FULL), WireField("gpu", "text", "make of the GPU", "x", SCHEMA_VERSION + 1)]
    monkeypatch.setattr(consent_rules, "fields_of", lambda level: grown if level is Level.FULL else fields_of(level))
    prompt = pending_prompt(record, settings(), NOON)
    assert prompt is not None
    assert [change.name for change in prompt.changes] == ["gpu"]
