"""Counting while napari runs: what is taken, when it is written, and that nothing of it can break napari."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from napari_telemetry.collect import Collector, count_command, count_layer, start_counting
from napari_telemetry.facts import facts_of
from napari_telemetry.state.drafts import Counts
from napari_telemetry.wire import Level

from tests.support.client import HERE, NOON, WEEK, Machine


class Array:
    shape = (10, 10)

    class dtype:  # noqa: N801 - looks like numpy's
        name = "uint8"
        itemsize = 1


def collector_of(machine: Machine, flush_every: float = 3600) -> Collector:
    return Collector(machine.settings, machine.store, lambda: facts_of(HERE, Level.FULL), flush_every)


def test_what_is_counted_is_written_by_the_flush_alone(machine: Machine) -> None:
    machine.consent(Level.FULL)
    collector = collector_of(machine)
    for _ in range(3):
        collector.command("affinder.start")
    collector.layer("image", Array())
    assert machine.store.drafts.counts(WEEK) == Counts()
    assert collector.flush()
    counts = machine.store.drafts.counts(WEEK)
    assert counts.commands == {"affinder.start": 3}
    assert [(kind.layer, kind.ndim, count) for kind, count in counts.layers.items()] == [("image", 2, 1)]
    assert collector.flush()
    assert machine.store.drafts.counts(WEEK) == counts, "nothing is counted twice"


@pytest.mark.promise("nothing-below-the-level")
@pytest.mark.parametrize("level", [None, Level.NONE, Level.BASIC, Level.MIDDLE])
def test_below_level_full_nothing_is_counted_or_written(machine: Machine, level: Level | None) -> None:
    if level is not None:
        machine.consent(level)
    files = {path: path.read_bytes() for path in machine.folder.rglob("*") if path.is_file()}
    collector = collector_of(machine)
    collector.command("affinder.start")
    collector.layer("image", Array())
    assert not collector.is_counting
    assert collector.flush()
    assert {path: path.read_bytes() for path in machine.folder.rglob("*") if path.is_file()} == files


def test_consent_that_is_withdrawn_while_counting_ends_it_and_nothing_from_before_is_kept(machine: Machine) -> None:
    machine.consent(Level.FULL)
    collector = collector_of(machine)
    collector.command("before")
    machine.consent(Level.NONE)
    collector.command("between")
    assert collector.flush()
    machine.consent(Level.FULL)
    assert collector.flush()
    collector.command("after")
    assert collector.flush()
    assert machine.store.drafts.counts(WEEK).commands == {"after": 1}


def test_consent_that_is_renewed_between_two_flushes_keeps_nothing_of_before(machine: Machine) -> None:
    machine.consent(Level.FULL)
    collector = collector_of(machine)
    collector.command("before")
    machine.consent(Level.NONE)
    machine.consent(Level.FULL)
    assert collector.flush()
    assert machine.store.drafts.counts(WEEK).commands == {}


def test_the_week_of_an_event_is_the_one_in_which_it_happened(machine: Machine) -> None:
    machine.consent(Level.FULL)
    collector = collector_of(machine)
    machine.clock.now = NOON.replace(day=22, hour=23, minute=59, second=59)
    collector.command("sunday")
    machine.clock.forward(seconds=1)
    collector.command("monday")
    machine.clock.forward(seconds=-1)
    collector.command("sunday")
    assert collector.flush()
    assert machine.store.drafts.counts("2026-W47").commands == {"sunday": 2}
    assert machine.store.drafts.counts("2026-W48").commands == {"monday": 1}


def test_nothing_is_counted_for_a_week_that_is_to_be_forgotten(machine: Machine) -> None:
    machine.consent(Level.FULL)
    collector = collector_of(machine)
    machine.store.sendings.forget([(machine.settings.service, WEEK)])
    collector.command("affinder.start")
    assert collector.flush()
    assert machine.store.drafts.counts(WEEK) == Counts()


class Hostile:
    """Raises whatever is asked of it."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __len__(self) -> int:
        raise RuntimeError("len")

    def __str__(self) -> str:
        raise RuntimeError("str")


ODD: list[Callable[[], Any]] = [Hostile, object, type(None), dict, list, lambda: 3, lambda: "x" * 10_000, lambda: b"\xff"]


@pytest.mark.parametrize("make_odd", ODD)
def test_whatever_is_handed_over_nothing_is_raised(machine: Machine, make_odd: Callable[[], Any]) -> None:
    odd = make_odd()
    machine.consent(Level.FULL)
    start_counting(collector_of(machine))
    count_command(odd)
    count_layer(odd, odd)
    for layer in ("image", "labels", "points", "shapes", "tracks", "vectors", "surface"):
        count_layer(layer, odd)


def test_state_that_cannot_be_written_keeps_the_counts_for_the_next_flush(machine: Machine) -> None:
    machine.consent(Level.FULL)
    collector = collector_of(machine)
    collector.command("affinder.start")
    own, _ = machine.store.files
    content = own.path.read_bytes()
    own.path.write_bytes(b"damaged, and longer than the header of a database would be" * 30)
    assert collector.flush() is False
    own.path.write_bytes(content)
    assert collector.flush()
    assert machine.store.drafts.counts(WEEK).commands == {"affinder.start": 1}
