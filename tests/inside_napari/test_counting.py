"""Counting in napari, only at level full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari_telemetry.plugin.counting import Collector, layer_type
from napari_telemetry.plugin.instance import get_instance
from npe2 import DynamicPlugin, PluginManager

from tests.inside_napari.attaching import attach
from tests.inside_napari.waiting import PATIENCE_MS
from tests.support import consent


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    told: Counter[str] = Counter()
    command, layer = Collector.command, Collector.layer

    def count_command(self: Collector, id: str) -> None:
        told[id] += self.consent is not None
        command(self, id)

    def count_layer(self: Collector, kind: str, data: Any) -> None:
        told[f"{kind} {type(data).__name__}"] += self.consent is not None
        layer(self, kind, data)

    monkeypatch.setattr(Collector, "command", count_command)
    monkeypatch.setattr(Collector, "layer", count_layer)
    return told


@pytest.fixture
def counting(viewer: Any, qtbot: Any, counted: Counter[str], record_level: Callable[[str], None]) -> Any:
    record_level("full")
    attach(viewer)
    qtbot.waitUntil(lambda: get_instance().counting.is_connected, timeout=PATIENCE_MS)
    return viewer


@pytest.fixture
def plugin(viewer: Any) -> Iterator[DynamicPlugin]:
    with DynamicPlugin("made-plugin") as made:

        @made.contribute.reader(filename_patterns=["*.made"])
        def get_reader(path: Any) -> Any:
            return (lambda path: [(np.zeros((4, 4)),)]) if "no" not in Path(str(path)).stem else None

        @made.contribute.writer(filename_extensions=[".made"], layer_types=["image"])
        def write(path: str, data: Any, meta: Any) -> list[str]:
            Path(path).write_bytes(b"")
            return [path]

        @made.contribute.sample_data(key="zeros")
        def zeros() -> list[Any]:
            return [(np.zeros((3, 3)),)]

        yield made


def registry() -> Any:
    from napari._app_model import get_app_model

    return get_app_model().commands


ACTIVITY = "napari.window.view.toggle_activity_dock"


def test_a_menu_command_is_counted(counting: Any, counted: Counter[str]) -> None:
    counting.window.view_menu.findAction(ACTIVITY).trigger()
    assert counted == {ACTIVITY: 1}


def test_opening_a_plugin_widget_is_counted_once(counting: Any, counted: Counter[str]) -> None:
    registry().execute_command("napari-telemetry.panel").result()
    assert counted == {"napari-telemetry.panel": 1}


def test_a_reader_is_counted_once_and_only_if_it_reads(
    counting: Any, plugin: DynamicPlugin, counted: Counter[str], tmp_path: Path
) -> None:
    (tmp_path / "a.made").write_bytes(b"")
    counting.open(tmp_path / "a.made", plugin="made-plugin")
    assert counted["made-plugin.get_reader"] == 1
    (tmp_path / "no.made").write_bytes(b"")
    with pytest.raises(Exception):  # noqa: B017, PT011 - napari's error for a file without a reader
        counting.open(tmp_path / "no.made", plugin="made-plugin")
    assert counted["made-plugin.get_reader"] == 1


def test_a_writer_and_sample_data_are_counted_once(
    counting: Any, plugin: DynamicPlugin, counted: Counter[str], tmp_path: Path
) -> None:
    layer = counting.add_image(np.zeros((4, 4)))
    layer.save(str(tmp_path / "out.made"), plugin="made-plugin")
    assert counted["made-plugin.write"] == 1
    counting.open_sample("made-plugin", "zeros")
    assert counted["made-plugin.zeros"] == 1


def test_every_layer_type_is_counted_on_insertion(counting: Any, counted: Counter[str]) -> None:
    import dask.array as da

    counting.add_image(np.zeros((4, 4)))
    counting.add_image(da.zeros((100, 512, 512), dtype="uint16"))
    counting.add_image([np.zeros((8, 8)), np.zeros((4, 4))], multiscale=True)
    counting.add_labels(np.zeros((4, 4), dtype=int))
    counting.add_points(np.zeros((3, 2)))
    counting.add_shapes([np.array([[0, 0], [1, 1]])])
    counting.add_vectors(np.zeros((2, 2, 2)))
    counting.add_tracks(np.array([[0, 0, 1.0, 1], [0, 1, 1.0, 2]]))
    counting.add_surface((np.zeros((3, 2)), np.array([[0, 1, 2]])))
    assert {name.partition(" ")[0] for name in counted} >= {
        "image", "labels", "points", "shapes", "vectors", "tracks", "surface",
    }  # fmt: skip
    assert sum(counted.values()) == 9


def test_layers_added_before_attaching_are_not_counted(
    viewer: Any, qtbot: Any, counted: Counter[str], record_level: Callable[[str], None]
) -> None:
    viewer.add_image(np.zeros((4, 4)))
    record_level("full")  # for example by the command line
    attach(viewer)
    qtbot.waitUntil(lambda: get_instance().counting.is_connected, timeout=PATIENCE_MS)
    assert counted == {}


def test_a_moved_or_reinserted_layer_is_counted_once(counting: Any, counted: Counter[str]) -> None:
    layer = counting.add_image(np.zeros((4, 4)))
    counting.add_image(np.zeros((4, 4)))
    counting.layers.move(0, 2)
    counting.layers.remove(layer)
    counting.layers.append(layer)
    assert counted["image ndarray"] == 2


def test_layers_added_before_consent_are_not_counted(viewer: Any, qtbot: Any, counted: Counter[str]) -> None:
    viewer.add_image(np.zeros((4, 4)))
    attach(viewer)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.status is not None, timeout=PATIENCE_MS)
    consent.record("full")
    qtbot.waitUntil(lambda: get_instance().counting.is_connected, timeout=PATIENCE_MS)
    assert counted == {}
    viewer.add_image(np.zeros((4, 4)))
    assert counted["image ndarray"] == 1


@pytest.mark.parametrize("level", ["none", "basic", "middle"])
def test_nothing_is_connected_below_full(viewer: Any, qtbot: Any, record_level: Callable[[str], None], level: str) -> None:
    record_level(level)
    attach(viewer)
    qtbot.waitUntil(lambda: get_instance().session.snapshot.status is not None, timeout=PATIENCE_MS)
    assert not get_instance().counting.is_connected
    assert "execute_command" not in vars(registry())
    assert "get" not in vars(PluginManager.instance().commands)
    assert get_instance().session.collector.consent is None


def test_lowering_the_level_disconnects_and_restores_napari(counting: Any, qtbot: Any, counted: Counter[str]) -> None:
    assert "execute_command" in vars(registry())
    callbacks = len(counting.layers.events.inserted.callbacks)
    consent.record("middle")
    qtbot.waitUntil(lambda: not get_instance().counting.is_connected, timeout=PATIENCE_MS)
    assert "execute_command" not in vars(registry())
    assert "get" not in vars(PluginManager.instance().commands)
    assert len(counting.layers.events.inserted.callbacks) == callbacks - 1
    counting.add_image(np.zeros((4, 4)))
    assert counted == {}
    consent.record("full")
    qtbot.waitUntil(lambda: get_instance().counting.is_connected, timeout=PATIENCE_MS)


def test_counting_stops_even_inside_a_foreign_wrapper(counting: Any, qtbot: Any, counted: Counter[str]) -> None:
    ours = registry().execute_command
    registry().execute_command = lambda *args, **kwargs: ours(*args, **kwargs)
    consent.record("none")
    qtbot.waitUntil(lambda: not get_instance().counting.is_connected, timeout=PATIENCE_MS)
    registry().execute_command("napari.window.view.toggle_activity_dock").result()
    assert counted == {}
    del registry().__dict__["execute_command"]


def test_layers_still_open_after_a_counting_error(counting: Any) -> None:
    get_instance().counting._on_inserted(type("Event", (), {"value": object()})())
    counting.add_image(np.zeros((4, 4)))
    assert len(counting.layers) == 1


def test_a_layer_subclass_is_counted_as_its_base_type() -> None:
    from napari.layers import Image

    class Theirs(Image):  # type: ignore[misc]  # napari is missing when types are checked
        """A plugin's layer class."""

    assert layer_type(Theirs(np.zeros((2, 2)))) == "image"
