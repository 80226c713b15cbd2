from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation.catalogue import CATALOGUE
from aggregation.publication import public_number, published
from tests.support.rule import public


@pytest.mark.promise("ten-people-multiples-of-five")
@pytest.mark.parametrize(("people", "shown"), [(0, None), (9, None), (10, 10), (14, 10), (15, 15), (1999, 1995)])
def test_small_numbers_are_hidden_and_others_rounded_down(people: int, shown: int | None) -> None:
    assert public_number(people) == shown


@given(st.integers(0, 10**9))
def test_public_numbers_are_multiples_of_five_and_never_too_high(people: int) -> None:
    shown = public_number(people)
    if shown is None:
        assert people < 10
    else:
        assert shown >= 10
        assert shown % 5 == 0
        assert people - 5 < shown <= people


@pytest.mark.promise("no-setting-lowers-it")
def test_no_setting_changes_the_thresholds() -> None:
    from aggregation.settings import AggregationSettings
    from update_server.settings import Settings

    names = {*Settings.model_fields, *AggregationSettings.model_fields}
    assert not [name for name in names if "listed" in name or "round" in name or "threshold" in name]


def test_a_total_is_lowered_to_new_people_without_listed_rows() -> None:
    """Found by Hypothesis: otherwise 15 people, 10 of them new, would be published as such, with everything else hidden."""
    counts: dict[str, dict[tuple[str, ...], int]] = {entry.id: {} for entry in CATALOGUE}
    counts |= {"people": {(): 15}, "new-people": {(): 10}, "people-by-level": {("full",): 9, ("middle",): 6}}
    shown = published(counts, CATALOGUE)
    assert (shown["people"], shown["new-people"]) == ({(): 10}, {(): 10})
    assert shown == {entry.id: {} for entry in CATALOGUE} | public(counts)
