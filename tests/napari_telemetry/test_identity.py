from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari_telemetry.identity import identifier, new_secret

SECRET = bytes(range(32))


@pytest.mark.promise("identifier-changes")
def test_it_is_the_same_all_week_and_another_for_every_week_service_and_account() -> None:
    here = identifier(SECRET, "https://api.napari.org", "2026-W47")
    assert identifier(SECRET, "https://api.napari.org", "2026-W47") == here
    assert identifier(SECRET, "https://api.napari.org", "2026-W48") != here
    assert identifier(SECRET, "https://example.org", "2026-W47") != here
    assert identifier(new_secret(), "https://api.napari.org", "2026-W47") != here


@given(st.text(max_size=20), st.text(max_size=20), st.integers(0, 20))
def test_parts_cannot_run_into_each_other(service: str, week: str, cut: int) -> None:
    moved_service, moved_week = (service + week)[:cut], (service + week)[cut:]
    same = (moved_service, moved_week) == (service, week)
    assert (identifier(SECRET, service, week) == identifier(SECRET, moved_service, moved_week)) is same
