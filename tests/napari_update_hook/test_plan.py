"""Plans: a set of updates never breaks installed packages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.plan import Plan, make_plan, napari_impact, violations_of
from napari_update_hook.table import Release, TablePackage, admits, pick
from napari_update_hook.versions import is_newer

from tests.support.hook import environment


def packages(**rows: Any) -> dict[str, TablePackage]:
    """Return packages by name (``_`` for ``-``), each from a version or from rows."""
    found = {}
    for key, value in rows.items():
        releases = [Release(value)] if isinstance(value, str) else [Release(**one) for one in value]
        found[key.replace("_", "-")] = TablePackage(tuple(releases))
    return found


def plugin_requiring(name: str, version: str, *requires: str) -> Distribution:
    return Distribution(name, version, requires, "pip", is_plugin=True)


def updates_of(plan: Plan) -> dict[str, str]:
    return {one.name: one.target for one in plan.updates}


NAPARIS = [{"version": version} for version in ("0.8.0", "0.6.6", "0.6.1", "0.5.6")]
BLOCKED = environment(
    "3.11.4",
    napari="0.5.6",
    axondeepseg=plugin_requiring("axondeepseg", "5.5.0", "napari<0.7.0"),
    empanada_napari=plugin_requiring("empanada-napari", "1.2.4", "napari<=0.6.6"),
    mmv_regionseg=plugin_requiring("mmv-regionseg", "0.4.0", "napari<0.6.0"),
    affinder="0.4.0",
)
INDEX = packages(napari=NAPARIS, affinder="0.5.0", axondeepseg="5.5.0", empanada_napari="1.2.4", mmv_regionseg="0.4.0")


def test_plugins_that_hold_napari_back_are_named() -> None:
    plan = make_plan(INDEX, BLOCKED)
    assert updates_of(plan) == {"affinder": "0.5.0"}
    (held,) = plan.held_back
    assert (held.name, held.newest) == ("napari", "0.8.0")
    assert held.by == ("axondeepseg", "empanada-napari", "mmv-regionseg")
    assert held.reason.startswith("0.8.0 would break axondeepseg (needs napari <0.7.0), empanada-napari (needs napari <=0.6.6)")
    assert plan.pins == {
        "affinder": "0.5.0", "axondeepseg": "5.5.0", "empanada-napari": "1.2.4", "mmv-regionseg": "0.4.0", "napari": "0.5.6",
    }  # fmt: skip
    without = {name: one for name, one in BLOCKED.distributions.items() if name != "mmv-regionseg"}
    assert updates_of(make_plan(INDEX, Environment("3.11.4", "pypi", without))) == {"napari": "0.6.6", "affinder": "0.5.0"}


def test_a_plugin_and_napari_are_updated_together() -> None:
    here = environment("3.11.4", napari="0.6.1", plugin=plugin_requiring("plugin", "1.0", "napari<0.7"))
    index = packages(napari=NAPARIS, plugin=[{"version": "2.0", "requires_napari": ">=0.7"}, {"version": "1.0"}])
    assert updates_of(make_plan(index, here)) == {"napari": "0.8.0", "plugin": "2.0"}
    assert updates_of(make_plan(index, here, keep_napari=True)) == {}
    kept = {one.name: one.reason for one in make_plan(index, here, keep_napari=True).held_back}
    assert kept == {"napari": "0.8.0 is available; this plan keeps napari 0.6.1", "plugin": "2.0 needs napari >=0.7"}


def test_a_napari_update_that_prevents_a_plugin_update_is_noted() -> None:
    here = environment("3.11.4", napari="0.6.1", plugin="1.0")
    index = packages(napari=NAPARIS, plugin=[{"version": "2.0", "requires_napari": "<0.7"}, {"version": "1.5"}])
    plan = make_plan(index, here)
    assert updates_of(plan) == {"napari": "0.8.0", "plugin": "1.5"}
    assert plan.notes == ("With napari 0.8.0, plugin stays at 1.5. With the installed napari it could be 2.0 (--keep-napari).",)


def test_requirements_between_plugins_are_respected() -> None:
    here = environment("3.11.4", one=plugin_requiring("one", "1.0", "two<2"), two="1.0", three="1.0")
    index = packages(one="1.0", two="2.0", three=[{"version": "2.0", "requires": {"two": ">=2"}}])
    plan = make_plan(index, here)
    assert updates_of(plan) == {}
    reasons = {one.name: one.reason for one in plan.held_back}
    assert reasons == {"two": "2.0 would break one (needs two <2)", "three": "2.0 needs two >=2; 1.0 is installed"}


def test_unlisted_plugins_hold_updates_back_but_are_never_pinned() -> None:
    here = environment("3.11.4", affinder="0.4.0", private=plugin_requiring("private", "1.0", "affinder<0.5"))
    plan = make_plan(packages(affinder="0.5.0"), here)
    assert updates_of(plan) == {}
    assert plan.held_back[0].by == ("private",)
    assert "private" not in plan.pins


def test_existing_conflicts_are_reported_and_hold_nothing_back() -> None:
    here = environment("3.11.4", affinder="0.4.0", other=plugin_requiring("other", "1.0", "affinder<0.4", "missing>=1"))
    plan = make_plan(packages(affinder="0.5.0"), here)
    assert updates_of(plan) == {"affinder": "0.5.0"}
    assert [str(one) for one in plan.broken_before] == [
        "other needs affinder <0.4; affinder 0.4.0 is installed",
        "other needs missing >=1; it is not installed",
    ]


@pytest.mark.parametrize(
    "found",
    [
        Distribution("affinder", "0.4.0+abc", (), "pip"),
        Distribution("affinder", "0.4.0", (), "pip", is_local=True),
        Distribution("affinder", "not a version", (), "pip"),
    ],
)
def test_local_builds_are_not_replaced(found: Distribution) -> None:
    plan = make_plan(packages(affinder="0.5.0"), environment(affinder=found))
    assert (plan.updates, plan.pins) == ((), {})


def test_an_installed_napari_release_is_always_pinned() -> None:
    """Today's index does not list napari."""
    here = environment(napari="0.6.1", affinder="0.4.0")
    assert make_plan(packages(affinder="0.5.0"), here).pins == {"affinder": "0.5.0", "napari": "0.6.1"}
    development = environment(napari="0.9.0.dev1+g1", affinder="0.4.0")
    assert "napari" not in make_plan(packages(affinder="0.5.0"), development).pins


def test_markers_are_evaluated_for_this_environment() -> None:
    lines = ("affinder<0.5; python_version < '3.9'", "affinder<0.5; extra == 'old'", "affinder<0.5; nonsense", "][")
    here = environment("3.11.4", affinder="0.4.0", other=plugin_requiring("other", "1.0", *lines))
    assert updates_of(make_plan(packages(affinder="0.5.0"), here)) == {"affinder": "0.5.0"}
    old = environment("3.8.4", affinder="0.4.0", other=plugin_requiring("other", "1.0", *lines))
    assert updates_of(make_plan(packages(affinder="0.5.0"), old)) == {}


def test_only_the_named_packages_are_updated() -> None:
    here = environment("3.11.4", napari="0.6.1", affinder="0.4.0", other="1.0")
    index = packages(napari=NAPARIS, affinder="0.5.0", other="2.0")
    assert updates_of(make_plan(index, here, only=["Affinder"])) == {"affinder": "0.5.0"}
    assert make_plan(index, here, only=["affinder"]).pins["other"] == "1.0"


def test_the_impact_of_another_napari_version_is_reported() -> None:
    index = packages(
        napari=NAPARIS, affinder="0.5.0", plugin=[{"version": "2.0"}, {"version": "1.0", "requires_napari": "<0.7"}],
        stuck=[{"version": "1.0", "requires_napari": "<0.7"}],
    )  # fmt: skip
    here = environment(
        "3.11.4", napari="0.6.1", affinder="0.4.0", plugin=plugin_requiring("plugin", "1.0", "napari<0.7"),
        stuck=plugin_requiring("stuck", "1.0", "napari<0.7"), private=plugin_requiring("private", "1.0", "napari<0.7"),
    )  # fmt: skip
    answers = {one.name: one.answer for one in napari_impact(index, here, "0.8.0")}
    assert answers == {"affinder": "fine", "plugin": "update to 2.0", "private": "excludes it", "stuck": "no release yet"}
    plan = make_plan(index, here, napari="0.8.0")
    assert "napari" not in updates_of(plan), "it would break two plugins"
    assert updates_of(plan) == {"affinder": "0.5.0", "plugin": "2.0"}
    fine = make_plan(index, here, napari="0.6.6")
    assert updates_of(fine)["napari"] == "0.6.6"


NAMES = ["napari", "a", "b", "c", "d"]
VERSIONS = ["1", "2", "3", "4"]
SPECIFIERS = ["", "<2", "<3", ">=2", ">=3", "==2", "!=3", "<=3"]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, TablePackage], Environment]:
    needs = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(SPECIFIERS), max_size=2)
    index, found = {}, {}
    for name in NAMES:
        rows = []
        for version in sorted(draw(st.sets(st.sampled_from(VERSIONS), max_size=4)), reverse=True):
            wanted = {other: specifier for other, specifier in draw(needs).items() if other != name and specifier}
            rows.append(Release(version, draw(st.sampled_from(["", ">=3.10", ">=3.13"])), wanted.pop("napari", ""), wanted))
        if draw(st.booleans()) or name == "napari":
            index[name] = TablePackage(tuple(rows))
        if draw(st.integers(0, 4)):
            requires = tuple(f"{other}{specifier}" for other, specifier in draw(needs).items() if other != name)
            is_local = draw(st.integers(0, 9)) == 0
            found[name] = Distribution(name, draw(st.sampled_from(VERSIONS)), requires, "pip", is_local=is_local)
    return index, Environment("3.11.4", "pypi", found)


def after(index: dict[str, TablePackage], here: Environment, plan: Plan, **more: str) -> Environment:
    """Return the environment after a plan; updated packages get the requirements of their rows."""
    found = dict(here.distributions)
    for name, version in {**updates_of(plan), **more}.items():
        napari = plan.napari
        row = next(
            one for one in index[name].releases
            if one.version == version and admits(one.requires_python, here.python)
            and (name == "napari" or napari is None or admits(one.requires_napari, napari))
        )  # fmt: skip
        needs = {**row.requires, **({"napari": row.requires_napari} if row.requires_napari else {})}
        requires = tuple(f"{other}{specifier}" for other, specifier in needs.items() if other in found)
        found[name] = Distribution(name, version, requires, "pip")
    return Environment(here.python, "pypi", found)


@given(worlds())
def test_a_plan_adds_no_conflict_and_omits_only_conflicting_updates(
    world: tuple[dict[str, TablePackage], Environment],
) -> None:
    index, here = world
    plan = make_plan(index, here)
    before = {one.key for one in violations_of(here)}
    assert [one for one in violations_of(after(index, here, plan)) if one.key not in before] == []
    for one in plan.updates:
        assert is_newer(one.target, one.installed), "nothing is downgraded"
    for name in set(index) & set(here.distributions) - set(updates_of(plan)) - {"napari"}:
        row = pick(index[name].releases, here.python, plan.napari)
        if row is None or here.distributions[name].is_local or not is_newer(row.version, here.distributions[name].version):
            continue
        more = violations_of(after(index, here, plan, **{name: row.version}))
        assert [one for one in more if one.key not in before], f"{name} {row.version} is compatible"
        assert name in {held.name for held in plan.held_back}, "it is reported as held back"


@given(worlds(), st.randoms())
def test_a_plan_does_not_depend_on_the_order_of_its_input(
    world: tuple[dict[str, TablePackage], Environment], dice: Any
) -> None:
    index, here = world
    names, packages = list(here.distributions), list(index)
    dice.shuffle(names)
    dice.shuffle(packages)
    shuffled = Environment(here.python, "pypi", {name: here.distributions[name] for name in names})
    assert make_plan({name: index[name] for name in packages}, shuffled) == make_plan(index, here)
