"""When the question is put: answers, askings and time in, a question or None out."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from napari_telemetry import asking
from napari_telemetry.asking import Why, due_question
from napari_telemetry.decision import ConsentRecord
from napari_telemetry.settings import ClientSettings, SiteRules
from napari_telemetry.wire import SCHEMA_VERSION, TELEMETRY_LEVELS, Level, WireField, fields_of

from tests.support.client import NOON, SERVER

DAY = timedelta(days=1)


def settings(environ: dict[str, str] | None = None, site: SiteRules | None = None, server: str = SERVER) -> ClientSettings:
    return ClientSettings(server, dict.fromkeys(TELEMETRY_LEVELS, server), Path("unused"), site or SiteRules(), environ or {})


def answered(level: Level, *, schema: int = SCHEMA_VERSION, until: datetime | None = None) -> ConsentRecord:
    return ConsentRecord(NOON - 100 * DAY, level, schema, SERVER, until, "test")


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
    question = due_question(None, [NOON - days * DAY for days in asked_days_ago], settings(), NOON)
    assert (question is not None) is is_due
    if question is not None:
        assert question.why is Why.FIRST


@pytest.mark.parametrize(
    ("record", "server", "why"),
    [
        (answered(Level.BASIC, until=NOON), SERVER, Why.ENDED),
        (answered(Level.BASIC, schema=SCHEMA_VERSION - 1), SERVER, Why.GROWN),
        (answered(Level.BASIC), "https://other.example", Why.ELSEWHERE),
    ],
)
def test_it_comes_back_when_consent_no_longer_fits(record: ConsentRecord, server: str, why: Why) -> None:
    question = due_question(record, [NOON - 200 * DAY] * 3, settings(server=server), NOON)
    assert question is not None
    assert (question.why, question.before) == (why, record)
    again = [NOON - 90 * DAY, NOON - 60 * DAY, NOON - 30 * DAY]
    assert due_question(record, again, settings(server=server), NOON) is None, "three askings after the answer"


@pytest.mark.promise("asked-three-times")
@pytest.mark.parametrize("level", [Level.NONE])
def test_no_stays_no_also_elsewhere_and_for_a_larger_schema(level: Level) -> None:
    record = answered(level, schema=SCHEMA_VERSION - 1)
    assert due_question(record, [], settings(server="https://other.example"), NOON) is None


@pytest.mark.promise("consent-has-limits")
def test_a_grown_schema_stops_everything_until_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would happen if the next release collected one field more."""
    from napari_telemetry import decision

    record = answered(Level.FULL)
    assert decision.decide(record, settings(), NOON).level is Level.FULL
    for module in (asking, decision):
        monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    assert decision.decide(record, settings(), NOON).level is Level.NONE
    grown = [*fields_of(Level.FULL), WireField("gpu", "text", "make of the GPU", "x", SCHEMA_VERSION + 1)]
    monkeypatch.setattr(asking, "fields_of", lambda level: grown if level is Level.FULL else fields_of(level))
    question = due_question(record, [], settings(), NOON)
    assert question is not None
    assert [change.name for change in question.changes] == ["gpu"]
