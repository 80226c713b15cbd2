"""Which commands run and which layers appear, told by napari itself. Connected at level full alone.

app-model has no signal for a command that runs (0.5), so its registry's ``execute_command`` is wrapped, on the instance: menus,
key bindings, the command palette and plugin widgets all look it up when they call. Readers, writers and sample data of npe2
run through npe2's own registry, whose ``get`` hands out what is called; of those alone a wrapped function is handed out, as
widgets must stay the classes that they are. Both are undone when counting ends.

The collector is imported when it is needed, which is after the background has: attaching must cost the GUI thread little.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

APPLICATION = "napari"
"""Under which name napari registers itself with app-model."""
_CONTRIBUTIONS = ("readers", "writers", "sample_data")


class Counting:
    """Tells the collector of commands and layers while it is connected. Holds viewers weakly."""

    def __init__(self) -> None:
        self._viewers: list[weakref.ref[Any]] = []
        self._undo: list[Callable[[], None]] = []
        self._counted: weakref.WeakSet[Any] = weakref.WeakSet()
        self.is_connected = False

    def add(self, viewer: Any) -> None:
        """Take a viewer in; its layers count from now on, while counting is connected."""
        if all(known() is not viewer for known in self._viewers):
            self._viewers.append(weakref.ref(viewer))
            if self.is_connected:
                self._connect_layers(viewer, present=True)

    def connect(self, *, present_layers: bool) -> None:
        """Connect. ``present_layers``: whether layers that are there already count, as at the start of a session."""
        if self.is_connected:
            return
        self.is_connected = True
        for wrap in (_wrap_app_model, _wrap_npe2):
            undo = wrap()
            if undo is not None:
                self._undo.append(undo)
        for viewer in self._alive():
            self._connect_layers(viewer, present=present_layers)

    def disconnect(self) -> None:
        """Undo everything: napari is as it was."""
        if not self.is_connected:
            return
        self.is_connected = False
        while self._undo:
            self._undo.pop()()
        for viewer in self._alive():
            viewer.layers.events.inserted.disconnect(self._on_inserted)

    def _alive(self) -> Iterator[Any]:
        self._viewers = [known for known in self._viewers if known() is not None]
        for known in self._viewers:
            if (viewer := known()) is not None:
                yield viewer

    def _connect_layers(self, viewer: Any, present: bool) -> None:
        viewer.layers.events.inserted.connect(self._on_inserted)
        for layer in viewer.layers if present else ():
            with contextlib.suppress(Exception):
                self._count(layer)

    def _on_inserted(self, event: Any) -> None:
        with contextlib.suppress(Exception):  # nobody's layer fails because it was counted
            self._count(event.value)

    def _count(self, layer: Any) -> None:
        if layer in self._counted:
            return  # moved between lists, or there when counting began
        self._counted.add(layer)
        from napari_telemetry.collect import count_layer

        count_layer(layer_type(layer), layer.data)


def layer_type(layer: Any) -> str:
    """Return the kind of a layer, such as ``image``, also of a class derived from napari's."""
    for kind in type(layer).__mro__:
        if kind.__module__.startswith("napari.layers.") and kind.__name__ != "Layer":
            return kind.__name__.lower()
    return "other"


_running = threading.local()


def _wrap_app_model() -> Callable[[], None] | None:
    from app_model import Application

    from napari_telemetry.collect import count_command

    application = Application.get_app(APPLICATION)
    if application is None:
        return None

    def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def execute_command(id: str, *args: Any, **kwargs: Any) -> Any:
            count_command(id)
            around = getattr(_running, "ids", ())
            _running.ids = (*around, id)
            try:
                return original(id, *args, **kwargs)
            finally:
                _running.ids = around

        return execute_command

    return _replace_method(application.commands, "execute_command", wrapped)


def _wrap_npe2() -> Callable[[], None] | None:
    from npe2 import PluginManager

    manager = PluginManager.instance()
    kinds: dict[str, str | None] = {}

    def kind_of(id: str) -> str | None:
        if id not in kinds:
            kinds[id] = _contribution_of(manager, id)
        return kinds[id]

    def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def get(id: str) -> Any:
            found = original(id)
            try:
                kind = kind_of(id)
                return found if kind is None else _counted(id, kind, found)
            except Exception:
                return found

        return get

    return _replace_method(manager.commands, "get", wrapped)


def _contribution_of(manager: Any, command_id: str) -> str | None:
    """What a command is of its plugin: one of `_CONTRIBUTIONS`, or None."""
    try:
        contributions = manager.get_manifest(command_id).contributions
    except KeyError:
        return None
    for kind in _CONTRIBUTIONS:
        if any(getattr(one, "command", None) == command_id for one in getattr(contributions, kind, None) or ()):
            return kind
    return None


def _counted(command_id: str, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, which tells when it runs.

    A reader's command gives the function that reads, or none where the file is not for it: that is no use of it.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if kind != "readers":
            _count_unless_running(command_id)
            return function(*args, **kwargs)
        read = function(*args, **kwargs)
        return _counted(command_id, "", read) if callable(read) else read

    return run


def _count_unless_running(command_id: str) -> None:
    """app-model may run a command that asks npe2 for the same: that is one use."""
    from napari_telemetry.collect import count_command

    if command_id not in getattr(_running, "ids", ()):
        count_command(command_id)


def _replace_method(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None]:
    """Put a method of our making on an instance, and return what takes it off again.

    Where somebody else has put theirs over ours meanwhile, ours stays below, and passes everything on.
    """
    before = vars(owner).get(name)
    original = getattr(owner, name)
    replaced = make(original)
    is_active = True

    @functools.wraps(original)
    def method(*args: Any, **kwargs: Any) -> Any:
        return (replaced if is_active else original)(*args, **kwargs)

    setattr(owner, name, method)

    def undo() -> None:
        nonlocal is_active
        is_active = False
        if vars(owner).get(name) is method:
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)

    return undo
