"""An attack on the publication rule: with all public numbers in hand, no hidden cell may be known to be small.

The attack must fail against the rule, and must succeed against rules that were considered and given up: else it would prove
nothing.
"""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import product

import pytest

from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO, public_number
from tests.support.attack import MOST_ENVIRONMENTS, Attack, Group, Rule, seen_by_everybody

OURS = Rule(LISTED_FROM, ROUNDED_DOWN_TO)
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("linux", "darwin", "win32")


def population(seed: int, people: int) -> list[Group]:
    """Return what is seen of a made-up week: napari's people, and those of six plugins, by Python and by platform."""
    dice = random.Random(seed)
    plugins = {f"plugin-{number}": dice.choice([0.01, 0.03, 0.08, 0.2, 0.5]) for number in range(6)}
    members: dict[str, set[int]] = defaultdict(set)
    cells: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for person in range(people):
        for _ in range(dice.choices([1, 2, 3], [8, 2, 1])[0]):
            values = {"python": dice.choices(PYTHONS, [1, 6, 9, 3, 1])[0], "platform": dice.choices(PLATFORMS, [3, 3, 4])[0]}
            groups = ["napari", *(plugin for plugin, share in plugins.items() if dice.random() < share)]
            for group, (table, row) in product(groups, values.items()):
                members[group].add(person)
                cells[group, table, row].add(person)
    rows = {"python": PYTHONS, "platform": PLATFORMS}
    return [
        seen_by_everybody(
            len(members[group]),
            {table: {row: len(cells[group, table, row]) for row in names} for table, names in rows.items()},
            OURS,
        )
        for group in ("napari", *plugins)
    ]


@pytest.mark.parametrize(("seed", "people"), [(seed, people) for seed in range(4) for people in (15, 40, 120, 400)])
def test_every_hidden_cell_of_a_week_can_be_nine(seed: int, people: int) -> None:
    groups = population(seed, people)
    attack = Attack(groups, OURS, dict.fromkeys(range(1, len(groups)), 0))
    hidden = [
        (number, table, row)
        for number, group in enumerate(groups)
        for table, rows in group.tables.items()
        for row, seen in rows.items()
        if seen is None and group.total is not None  # a plugin that is hidden as a whole has no rows and no name
    ]
    for cell in hidden:
        least, greatest = attack.range_of(*cell)
        assert greatest == LISTED_FROM - 1, cell
        assert least <= greatest


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
            assert attack.range_of(0, "by", row)[1] == LISTED_FROM - 1


def test_the_rule_of_the_attack_is_the_rule_of_the_code() -> None:
    for people in range(200):
        assert OURS.published(people) == public_number(people)


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
