from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari_telemetry import weeks


@pytest.mark.parametrize(
    ("instant", "week"),
    [
        ("2026-11-24T12:00:00+00:00", "2026-W48"),
        ("2024-12-30T00:00:00+00:00", "2025-W01"),  # a Monday of the new ISO year
        ("2027-01-01T12:00:00+00:00", "2026-W53"),
        ("2027-01-04T00:00:00+00:00", "2027-W01"),
        ("2026-11-23T13:00:00+14:00", "2026-W47"),  # still Sunday in UTC
        ("2026-11-22T12:30:00-12:00", "2026-W48"),  # Monday in UTC already
    ],
)
def test_weeks_are_iso_weeks_in_utc(instant: str, week: str) -> None:
    assert weeks.week_of(datetime.fromisoformat(instant)) == week


def test_an_instant_without_a_time_zone_is_rejected() -> None:
    with pytest.raises(ValueError, match="time zone"):
        weeks.week_of(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("text", ["2025-W53", "2026-W00", "2026-W54", "2026W47", "٢٠٢٦-W47", "2026-W47\n", "", "0000-W01"])
def test_an_invalid_week_is_rejected(text: str) -> None:
    with pytest.raises(weeks.InvalidWeekError):
        weeks.start_of(text)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2060, 1, 1)), st.integers(-14, 14))  # noqa: DTZ001
def test_every_instant_lies_in_its_week(naive: datetime, hours: int) -> None:
    instant = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    week = weeks.week_of(instant)
    assert weeks.start_of(week) <= instant < weeks.end_of(week)
    assert weeks.week_of(weeks.end_of(week)) == weeks.next_week(week)


def test_a_week_is_open_from_a_day_before_it_begins_until_it_closes() -> None:
    start, closes = datetime(2026, 11, 16, tzinfo=timezone.utc), datetime(2026, 12, 7, tzinfo=timezone.utc)
    second = timedelta(seconds=1)
    assert weeks.closes_at("2026-W47") == closes
    assert not weeks.is_open("2026-W47", start - timedelta(hours=24) - second)
    assert weeks.is_open("2026-W47", start - timedelta(hours=24))
    assert weeks.is_open("2026-W47", closes - second)
    assert not weeks.is_open("2026-W47", closes)
    assert weeks.publishable_from("2026-W47") == closes + timedelta(hours=1)
