"""Attack the publication rule: no hidden cell may be provably small.

The attack must succeed against rejected rules, or it would prove nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf

import pytest

from aggregation.catalogue import CATALOGUE
from aggregation.publication import LISTED_FROM, ROUNDED_DOWN_TO, Values, public_number, public_total, published, sums_of_rows
from aggregation.stores.reports import Report
from tests.support.attack import MAX_ENVIRONMENTS, Attack, Group, Rule, published_view
from tests.support.reports import count_people, random_reports, report

Cell = tuple[int, str, str]
OURS = Rule(LISTED_FROM, ROUNDED_DOWN_TO, lowers_totals=True)
OURS_ONCE = Rule(LISTED_FROM, ROUNDED_DOWN_TO, each_once=True, lowers_totals=True)
"""Our rule, if an attacker assumes one row per person and table."""
GREATEST = 9
"""Size that each hidden cell may have. Hard-coded, so that a lower threshold in the code fails."""
K = 5
"""Size that each hidden cell may at least have under that assumption."""


UNLISTED = {
    "level": ["basic", "middle", "full"],
    "platform": [f"{platform}/another" for platform in ("linux", "win32", "darwin")],
    "system": ["another Linux", "Windows another", "macOS another"],
}
"""Unlisted rows that an attacker cannot rule out, by dimension."""

OF_PLUGINS = [entry for entry in CATALOGUE if entry.id in ("plugins", "plugins-by-version", "plugins-by-python")]


def with_universal_plugin(reports: list[Report]) -> list[Report]:
    for one in reports:
        if "plugins" in one.document:
            one.document["plugins"] = [{"name": "affinder", "version": "0.5.0"}, *one.document["plugins"][1:]]
    return reports


POPULATIONS = [
    *((f"sample-{seed}-{people}", random_reports(seed, people)) for seed in range(3) for people in (12, 25, 60, 200)),
    *((f"dominant-{people}", with_universal_plugin(random_reports(5, people))) for people in (25, 60, 120)),
    (
        "few-at-basic",
        [report(person, level="middle" if person < 30 else "full" if person < 42 else "basic") for person in range(44)],
    ),
    (
        "three-people-in-a-hidden-row",
        [report(person, python_version="3.11" if person < 21 else "3.12" if person < 41 else "3.13") for person in range(44)],
    ),
]
"""Random weeks, weeks in which nearly everyone has the same plugin, and special cases."""


def public_rows(counts: Mapping[Values, int]) -> dict[Values, int]:
    """Return the rows before the total caps them."""
    shown = {values: number for values, people in counts.items() if (number := public_number(people)) is not None}
    return {values: number for values, number in shown.items() if values != ("basic",)}


def attack_on(reports: Sequence[Report], rule: Rule) -> tuple[Attack, list[Cell], list[Group]]:
    """Return an attack on a week, its hidden cells, and its groups: all people, each plugin, new people."""
    counts = {entry.id: Counter(count_people(entry, reports)) for entry in CATALOGUE}
    shown = published(counts, CATALOGUE)
    names: list[Values] = [(), *((name,) for (name,) in counts["plugins"]), ("new",)]
    groups = []
    for name in names:
        total = next(entry for entry in CATALOGUE if entry.id == ("plugins" if name else "people"))
        if name == ("new",):
            groups.append(Group(shown["new-people"].get(())))
            continue
        tables = {
            entry.id: {
                "/".join(values[entry.fixed :]): shown[entry.id].get(values)
                for values in counts[entry.id]
                if values[: entry.fixed] == name
            }
            for entry in CATALOGUE
            if entry.fixed == len(name) and not entry.is_total
        }
        for entry, rows in tables.items():
            for row in UNLISTED.get(entry.partition("-by-")[2], ["another"]):
                rows.setdefault(row.split("/")[0] if name else row)
        partial = frozenset(entry for entry in tables if entry.partition("-")[0] in ("commands", "layers"))
        uncapped = shown | {entry: public_rows(counts[entry]) for entry in tables}  # an attacker may have inferred them
        sums = sums_of_rows(uncapped, CATALOGUE, total)[name]
        groups.append(Group(shown[total.id].get(name), tables, partial, sums, frozenset({("people-by-level", "basic")})))
    attack = Attack(groups, rule, dict.fromkeys(range(1, len(groups)), 0))
    for number, group in enumerate(groups[1:-1], 1):
        add_plugin_constraints(attack, groups[0], number, group)
    for table in groups[0].partial:
        for row in groups[0].tables[table]:
            attack.add_known_sum({(0, table, row): 1.0, (0, "people-by-level", "full"): -1.0}, (-inf, 0))
    if rule.each_once:
        add_system_constraints(attack, groups[0])
    hidden = [
        (number, table, row)
        for number, group in enumerate(groups)
        for table, rows in group.tables.items()
        for row, seen in rows.items()
        if seen is None and group.total is not None  # a hidden plugin has no rows and no name
    ]
    return attack, hidden, groups


def add_plugin_constraints(attack: Attack, everybody: Group, number: int, group: Group) -> None:
    """Add that users of a plugin send middle or full, and are in the same rows of the tables of all people."""
    above = {(0, "people-by-level", level): -1.0 for level in ("middle", "full")}
    attack.add_known_sum({(number, "", ""): 1.0} | above, (-inf, 0))
    for kind in ("python", "napari", "platform"):
        for row in group.tables[f"plugins-by-{kind}"]:
            outer = {
                (0, f"people-by-{kind}", one): -1.0 for one in everybody.tables[f"people-by-{kind}"] if one.split("/")[0] == row
            }
            attack.add_known_sum({(number, f"plugins-by-{kind}", row): 1.0} | outer, (-inf, 0))


def add_system_constraints(attack: Attack, everybody: Group) -> None:
    platforms = {row.split("/")[0] for row in everybody.tables["people-by-platform"]}
    of = {
        row: {"Windows": "win32", "macOS": "darwin"}.get(row.split(" ")[0], "linux")
        for row in everybody.tables["people-by-system"]
    }
    for platform in platforms:
        inner = {(0, "people-by-system", row): 1.0 for row in of if of[row] == platform}
        outer = {
            (0, "people-by-platform", row): -1.0
            for row in everybody.tables["people-by-platform"]
            if row.split("/")[0] == platform
        }
        attack.add_known_sum(inner | outer, (0, 0))


@pytest.mark.promise("small-groups-stay-hidden")
@pytest.mark.parametrize("reports", [pytest.param(reports, id=name) for name, reports in POPULATIONS])
def test_every_hidden_cell_could_be_nine(reports: list[Report]) -> None:
    attack, hidden, _ = attack_on(reports, OURS)
    assert hidden
    for cell in hidden:
        least, greatest = attack.range_of(*cell)
        assert greatest >= GREATEST, cell
        assert least <= greatest


def test_the_attack_covers_every_entry_with_rows() -> None:
    _, _, groups = attack_on(random_reports(0, 200), OURS)
    looked_at = {table for group in groups for table in group.tables}
    assert looked_at == {entry.id for entry in CATALOGUE if not entry.is_total or entry.topic in ("commands", "layers")}


CORNERS: dict[str, tuple[int, dict[str, int]]] = {
    "five rows of four": (20, {f"row-{number}": 4 for number in range(5)}),
    "a hidden row beside a row that equals the total": (12, {"a": 12, "b": 1}),
    "an empty row": (30, {"a": 30, "b": 0}),
    "all rows just below the threshold": (27, {"a": 9, "b": 9, "c": 9}),
    "a total at the threshold": (10, {"a": 9, "b": 1}),
    "everyone in nearly every row": (10, {"a": 10, "b": 10, "c": 9}),
    "a hidden row just below the threshold": (14, {"a": 14, "b": 9}),
    "eighty environments of ten people": (10, {f"row-{number}": 9 for number in range(MAX_ENVIRONMENTS)}),
}


@pytest.mark.parametrize("corner", CORNERS)
def test_no_corner_case_pins_a_hidden_cell(corner: str) -> None:
    total, rows = CORNERS[corner]
    attack = Attack([published_view(total, {"by": rows}, OURS)], OURS)
    for row, count in rows.items():
        if count < LISTED_FROM:
            assert attack.range_of(0, "by", row)[1] >= GREATEST


def test_the_attack_uses_the_rule_of_the_code() -> None:
    for people in range(200):
        assert OURS.published(people) == public_number(people)
        for sums in (({10}, 0), ({40, 45}, 45), ({people // 5 * 5 - 5}, 40), ({40}, 35)):
            assert OURS.published_total(people, sums) == public_total(people, *sums)


@pytest.mark.promise("small-groups-stay-hidden")
@pytest.mark.parametrize("reports", [pytest.param(reports, id=name) for name, reports in POPULATIONS])
def test_assuming_one_row_per_person_reveals_no_more(reports: list[Report]) -> None:
    """An identifier mostly belongs to one platform; here, always."""
    attack, hidden, groups = attack_on(list({report.identifier: report for report in reports}.values()), OURS_ONCE)
    assert hidden
    greatest = {cell: attack.range_of(*cell)[1] for cell in hidden}
    assert min(greatest.values()) >= K, {cell: most for cell, most in greatest.items() if most < K}
    for number, table, row in hidden:
        group = groups[number]
        alone = Attack([Group(group.total, {table: group.tables[table]}, group.partial, group.sums, group.free)], OURS_ONCE)
        assert alone.range_of(0, table, row)[1] >= GREATEST, (number, table, row)


def test_a_total_that_is_not_lowered_reveals_small_rows() -> None:
    """If 40 people are listed on one platform and each uses only one, at most four can use another."""
    for rule, greatest in ((Rule(LISTED_FROM, ROUNDED_DOWN_TO, each_once=True), 4), (OURS_ONCE, GREATEST)):
        seen = published_view(40, {"platform": {"linux": 40, "win32": 0}}, rule)
        assert Attack([seen], rule).range_of(0, "platform", "win32") == (0, greatest)


def test_a_plugin_with_one_release_reveals_no_more() -> None:
    for people in range(40, 50):
        seen = published(
            {
                "plugins": {("p",): people},
                "plugins-by-version": {("p", "1.0"): people},
                "plugins-by-python": {("p", "3.11"): 40},
            },
            OF_PLUGINS,
        )
        assert seen["plugins"] == {("p",): 40}
        assert seen["plugins-by-version"] == {("p", "1.0"): 40}


def test_no_number_exceeds_its_total() -> None:
    """The total is lowered to the sum of the only table that adds up to less."""
    counts = {entry.id: dict[Values, int]() for entry in CATALOGUE}
    counts |= {"people": {(): 47}, "new-people": {(): 47}, "people-by-python": {("3.11",): 41, ("3.12",): 6}}
    counts |= {"people-by-level": {("middle",): 26, ("full",): 26}, "plugins": {("p",): 47}}
    shown = published(counts, CATALOGUE)
    most = shown["people"][()]
    assert all(number <= most for cells in shown.values() for number in cells.values())


def test_the_attack_succeeds_against_exact_numbers_without_small_cells() -> None:
    """A hidden cell is the difference between an exact total and the other cells."""
    exact = Rule(10, 1, each_once=True)
    attack = Attack([published_view(103, {"by": {"a": 60, "b": 40, "c": 3}}, exact)], exact)
    assert attack.range_of(0, "by", "c") == (3, 3)


def test_the_attack_succeeds_against_a_threshold_of_five() -> None:
    """The hidden cells can't be smaller, because each person is in a row, nor larger, because they are hidden."""
    five = Rule(5, 5)
    attack = Attack([published_view(20, {"by": {f"row-{number}": 4 for number in range(5)}}, five)], five)
    for number in range(5):
        assert attack.range_of(0, "by", f"row-{number}") == (4, 4)


def test_the_attack_succeeds_against_counted_environments() -> None:
    """A listed row leaves few environments for the hidden row."""
    environments = Rule(10, 5, each_once=True)
    attack = Attack([published_view(12, {"by": {"a": 11, "b": 1}}, environments)], environments)
    assert attack.range_of(0, "by", "b")[1] == 4


def test_the_attack_succeeds_against_republished_environment_counts() -> None:
    """The size of the change between them is public and pins the hidden row."""
    environments = Rule(10, 5, each_once=True)
    first = published_view(24, {"by": {"a": 15, "b": 9}}, environments)
    second = published_view(25, {"by": {"a": 15, "b": 10}}, environments)
    one = Attack([first], environments)
    both = Attack([first, second], environments)
    for row in ("a", "b"):
        both.add_known_sum({(1, "by", row): 1.0, (0, "by", row): -1.0}, (0, 1))  # one more environment, in one of the rows
    both.add_known_sum({(1, "by", row): 1.0 for row in ("a", "b")} | {(0, "by", row): -1.0 for row in ("a", "b")}, (1, 1))
    assert one.range_of(0, "by", "b") != (9, 9)
    assert both.range_of(0, "by", "b") == (9, 9)
