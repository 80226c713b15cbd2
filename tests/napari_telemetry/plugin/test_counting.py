"""Counting without napari."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from napari_telemetry.database import FILE
from napari_telemetry.plugin.counting import Collector, counts_by_week
from napari_telemetry.plugin.session import Session
from napari_telemetry.wire import Level

from tests.support.client import NOON, WEEK, Clock, Machine


class Array:
    shape = (10, 10)

    class dtype:  # noqa: N801 - looks like numpy's
        name = "uint8"
        itemsize = 1


def collector(clock: Clock) -> Collector:
    made = Collector()
    made.now = clock
    made.count_under(1)
    return made


def test_events_are_counted_by_week_and_kind() -> None:
    clock = Clock(NOON.replace(day=22, hour=23, minute=59, second=59))
    counting = collector(clock)
    counting.command("sunday")
    clock.forward(seconds=1)
    counting.command("monday")
    counting.layer("image", Array())
    clock.forward(seconds=-1)
    counting.command("sunday")
    found = counts_by_week(counting.pop_all())
    assert found["2026-W47"].commands == {"sunday": 2}
    assert found["2026-W48"].commands == {"monday": 1}
    assert [(kind.layer, kind.ndim, count) for kind, count in found["2026-W48"].layers.items()] == [("image", 2, 1)]
    assert counting.pop_all() == []


def test_events_of_another_consent_are_dropped() -> None:
    counting = collector(Clock())
    counting.command("before")
    counting.count_under(2)
    counting.command("after")
    assert [event for _, event in counting.pop_all()] == ["after"]
    counting.count_under(None)
    counting.command("never")
    assert counting.pop_all() == []


@pytest.mark.promise("nothing-below-the-level")
@pytest.mark.parametrize("level", [None, Level.NONE, Level.BASIC, Level.MIDDLE])
def test_below_level_full_nothing_is_counted_or_written(machine: Machine, level: Level | None) -> None:
    if level is not None:
        machine.consent(level)
    before = (machine.folder / FILE).read_bytes() if level is not None else None
    session = Session(lambda: machine.client)
    session._read()
    session.collector.command("affinder.start")
    session.collector.layer("image", Array())
    assert session.collector.pop_all() == []
    session._flush()
    assert machine.store.exists is (level is not None)
    assert before is None or (machine.folder / FILE).read_bytes() == before


def test_withdrawing_while_counting_drops_earlier_events(machine: Machine) -> None:
    machine.consent(Level.FULL)
    session = Session(lambda: machine.client)
    session._read()
    session.collector.command("before")
    machine.consent(Level.NONE)
    machine.consent(Level.FULL)
    session._flush()
    assert machine.view.counts == {}, "even if the session has not noticed yet"
    session._read()
    session.collector.command("after")
    session._flush()
    assert machine.view.counts[WEEK].commands == {"after": 1}


class Hostile:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __len__(self) -> int:
        raise RuntimeError("len")

    def __str__(self) -> str:
        raise RuntimeError("str")


ODD: list[Callable[[], Any]] = [Hostile, object, type(None), dict, list, lambda: 3, lambda: "x" * 10_000, lambda: b"\xff"]


@pytest.mark.parametrize("make_odd", ODD)
def test_unexpected_values_raise_no_exception(make_odd: Callable[[], Any]) -> None:
    odd, counting = make_odd(), collector(Clock())
    counting.command(odd)
    counting.layer(odd, odd)
    for layer in ("image", "labels", "points", "shapes", "tracks", "vectors", "surface"):
        counting.layer(layer, odd)
