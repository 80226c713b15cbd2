"""An attack on the publication rule: with all public numbers in hand, no hidden cell may be known to be small.

The attack must fail against the rule, and must succeed against rules that were considered and given up: else it would prove
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aggregation.catalogue import CATALOGUE
from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO, public_number
from aggregation.stores.reports import Report
from tests.support.attack import MOST_ENVIRONMENTS, Attack, Group, Rule, seen_by_everybody
from tests.support.reports import random_reports, recounted

OURS = Rule(LISTED_FROM, ROUNDED_DOWN_TO, lowers=True)
KNOWS_MORE = Rule(LISTED_FROM, ROUNDED_DOWN_TO, each_once=True, lowers=True)
"""Takes for granted that everybody is in one row of each table that tells people apart."""
GREATEST = 9
"""Every hidden cell may be that, by the design: written out, so that a lower threshold in the code can't lower the claim."""
K = 5
"""Nobody can tell that a group is smaller, even who takes for granted that everybody is in one row of each table."""


def published_of(reports: Sequence[Report], rule: Rule = OURS) -> tuple[list[Group], dict[int, int]]:
    """Return what is seen of a week, as groups with their tables: all entries of the catalogue.

    The first group is napari's people; each plugin, and the new people, are a group within it.
    """
    plain = {entry.topic: entry for entry in CATALOGUE if entry.is_total}
    totals: dict[str, int] = {"": recounted(plain["napari"], reports)[()]}
    totals |= {name: count for (name,), count in recounted(plain["plugins"], reports).items()}
    totals["new"] = recounted(plain["new"], reports).get((), 0)
    tables: dict[str, dict[str, dict[str, int]]] = {group: {} for group in totals}
    for entry in CATALOGUE:
        if entry.dimensions and entry.fixed < len(entry.dimensions):
            for values, count in recounted(entry, reports).items():
                subject, rest = ("", values) if not entry.fixed else (values[0], values[1:])
                tables[subject].setdefault(entry.id, {})["/".join(rest)] = count
    partial = frozenset(entry.id for entry in CATALOGUE if entry.topic in ("commands", "layers"))
    groups = [seen_by_everybody(total, tables[name], rule, partial) for name, total in totals.items()]
    return groups, dict.fromkeys(range(1, len(groups)), 0)


@pytest.mark.promise("small-groups-stay-hidden")
@pytest.mark.parametrize(("seed", "people"), [(seed, people) for seed in range(3) for people in (12, 25, 60, 200)])
def test_every_hidden_cell_of_every_entry_can_be_nine(seed: int, people: int) -> None:
    groups, within = published_of(random_reports(seed, people))
    attack = Attack(groups, OURS, within)
    hidden = [
        (number, table, row)
        for number, group in enumerate(groups)
        for table, rows in group.tables.items()
        for row, seen in rows.items()
        if seen is None and group.total is not None  # a plugin that is hidden as a whole has no rows and no name
    ]
    assert hidden
    for cell in hidden:
        least, greatest = attack.range_of(*cell)
        assert greatest >= GREATEST, cell
        assert least <= greatest


def test_the_attack_looks_at_every_entry_with_rows() -> None:
    groups, _ = published_of(random_reports(0, 200))
    looked_at = {table for group in groups for table in group.tables}
    assert looked_at == {entry.id for entry in CATALOGUE if entry.fixed < len(entry.dimensions)}


CORNERS: dict[str, tuple[int, dict[str, int]]] = {
    "five rows of four": (20, {f"row-{number}": 4 for number in range(5)}),
    "one hidden beside one listed that is all": (12, {"a": 12, "b": 1}),
    "nobody in a row": (30, {"a": 30, "b": 0}),
    "all rows just below": (27, {"a": 9, "b": 9, "c": 9}),
    "a total that is just listed": (10, {"a": 9, "b": 1}),
    "everybody in every row": (10, {"a": 10, "b": 10, "c": 9}),
    "one person too few to be seen": (14, {"a": 14, "b": 9}),
    "eighty environments of ten people": (10, {f"row-{number}": 9 for number in range(MOST_ENVIRONMENTS)}),
}


@pytest.mark.parametrize("corner", CORNERS)
def test_no_corner_pins_a_hidden_cell(corner: str) -> None:
    total, rows = CORNERS[corner]
    attack = Attack([seen_by_everybody(total, {"by": rows}, OURS)], OURS)
    for row, count in rows.items():
        if count < LISTED_FROM:
            assert attack.range_of(0, "by", row)[1] >= GREATEST


def test_the_rule_of_the_attack_is_the_rule_of_the_code() -> None:
    for people in range(200):
        assert OURS.published(people) == public_number(people)


@pytest.mark.promise("small-groups-stay-hidden")
@pytest.mark.parametrize(("seed", "people"), [(seed, people) for seed in range(3) for people in (12, 25, 60, 200)])
def test_who_takes_for_granted_that_everybody_is_in_one_row_learns_no_more(seed: int, people: int) -> None:
    """An account is mostly on one platform, and then the rows add up. Here it is true of everybody."""
    one_each = list({report.identifier: report for report in random_reports(seed, people)}.values())
    groups, within = published_of(one_each, KNOWS_MORE)
    attack = Attack(groups, KNOWS_MORE, within)
    greatest = {
        cell: attack.range_of(*cell)[1]
        for number, group in enumerate(groups)
        for table, rows in group.tables.items()
        for row, seen in rows.items()
        if seen is None and group.total is not None
        for cell in [(number, table, row)]
    }
    assert greatest
    assert min(greatest.values()) >= K
    for number, group in enumerate(groups):
        for table, rows in group.tables.items():
            alone = Attack([Group(group.total, {table: rows}, group.partial)], KNOWS_MORE)
            for row, seen in rows.items():
                assert group.total is None or seen is not None or alone.range_of(0, table, row)[1] >= GREATEST, (number, table)


def test_without_lowering_the_largest_row_that_shows_which_rows_are_small() -> None:
    """Ten people, all listed under one platform: at most four could be on another, if nobody is on two."""
    for rule, greatest in ((Rule(LISTED_FROM, ROUNDED_DOWN_TO, each_once=True), 4), (KNOWS_MORE, GREATEST)):
        seen = seen_by_everybody(40, {"platform": {"linux": 40, "win32": 0}}, rule)
        assert Attack([seen], rule).range_of(0, "platform", "win32") == (0, greatest)


def test_the_attack_succeeds_against_exact_numbers_without_small_cells() -> None:
    """One hidden cell beside an exact total is the difference."""
    exact = Rule(10, 1, each_once=True)
    attack = Attack([seen_by_everybody(103, {"by": {"a": 60, "b": 40, "c": 3}}, exact)], exact)
    assert attack.range_of(0, "by", "c") == (3, 3)


def test_the_attack_succeeds_against_rounding_down_with_a_threshold_of_five() -> None:
    """Five rows of four under a total of twenty: they can't be smaller, because everybody is somewhere, nor larger."""
    five = Rule(5, 5)
    attack = Attack([seen_by_everybody(20, {"by": {f"row-{number}": 4 for number in range(5)}}, five)], five)
    for number in range(5):
        assert attack.range_of(0, "by", f"row-{number}") == (4, 4)


def test_the_attack_succeeds_against_counted_environments() -> None:
    """Where rows add up to the total, a listed row leaves little for the hidden one."""
    environments = Rule(10, 5, each_once=True)
    attack = Attack([seen_by_everybody(12, {"by": {"a": 11, "b": 1}}, environments)], environments)
    assert attack.range_of(0, "by", "b")[1] == 4


def test_the_attack_succeeds_against_two_published_states_with_environments_counted() -> None:
    """A state after a week and one after two: what came in between, of which the number was public, is pinned."""
    environments = Rule(10, 5, each_once=True)
    first = seen_by_everybody(24, {"by": {"a": 15, "b": 9}}, environments)
    second = seen_by_everybody(25, {"by": {"a": 15, "b": 10}}, environments)
    one = Attack([first], environments)
    both = Attack([first, second], environments)
    for row in ("a", "b"):
        both.also({(1, "by", row): 1.0, (0, "by", row): -1.0}, (0, 1))  # one environment more, in one of the rows
    both.also({(1, "by", row): 1.0 for row in ("a", "b")} | {(0, "by", row): -1.0 for row in ("a", "b")}, (1, 1))
    assert one.range_of(0, "by", "b") != (9, 9)
    assert both.range_of(0, "by", "b") == (9, 9)
