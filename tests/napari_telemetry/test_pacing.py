from __future__ import annotations

import random
from datetime import timedelta

import pytest
from napari_telemetry.pacing import (
    DAY,
    LONGEST,
    Pause,
    after_failure,
    after_success,
    holds,
    retry_after_seconds,
)

from tests.support.client import NOON

HOUR = timedelta(hours=1)


class First(random.Random):
    """No jitter."""

    def random(self) -> float:
        return 0.0


def test_after_a_success_the_pause_is_spread() -> None:
    pauses = {after_success(NOON, DAY, random.Random(seed)).not_before - NOON for seed in range(50)}
    assert len(pauses) == 50
    assert all(DAY <= pause <= DAY * 1.1 for pause in pauses)


@pytest.mark.parametrize(
    ("asked", "pause"), [(None, HOUR), (10.0, HOUR), (7200.0, 2 * HOUR), (10.0**12, LONGEST), (-10.0, HOUR)]
)
def test_a_server_may_ask_for_more_but_not_for_ever(asked: float | None, pause: timedelta) -> None:
    assert after_failure(NOON, None, "no", asked, First()).not_before - NOON == pause


@pytest.mark.parametrize(
    ("set_at", "not_before", "in_force"),
    [
        (NOON, NOON + HOUR, True),
        (NOON - HOUR, NOON, False),
        (NOON - 2 * HOUR, NOON - HOUR, False),
        (NOON + HOUR, NOON + 2 * HOUR, False),  # the clock was set back since
        (NOON - HOUR, NOON + 3650 * DAY, False),  # no pause is that long
    ],
)
def test_a_pause_holds_for_its_time_and_not_longer(set_at: object, not_before: object, in_force: bool) -> None:
    assert holds(Pause(set_at, not_before), NOON) is in_force  # type: ignore[arg-type]
    assert not holds(None, NOON)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Wed, 18 Nov 2026 12:02:00 GMT", 120.0),
        ("Wed, 18 Nov 2026 11:00:00 GMT", 0.0),
        ("9" * 400, 999999999.0),
        ("soon", None),
        ("-5", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOON) == seconds
