"""Count commands and new layers; active only at level full.

app-model (0.5) has no signal for commands, so its registry's ``execute_command`` is wrapped. npe2 runs readers, writers and
sample data through its own registry, so its ``get`` returns wrapped functions for these. Widgets must remain classes.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_telemetry.records import Counts

APPLICATION = "napari"
MAX_QUEUED_EVENTS = 100_000
MAX_COMMAND_LENGTH = 256
"""Maximum length of a command id, as in the wire format."""
_CONTRIBUTIONS = ("readers", "writers", "sample_data")


class Collector:
    """Queues events until the session saves them. Never blocks or raises."""

    def __init__(self) -> None:
        self.consent: int | None = None
        self.now: Callable[[], datetime] | None = None
        self._events: deque[tuple[datetime, Any]] = deque(maxlen=MAX_QUEUED_EVENTS)

    def count_under(self, consent: int | None) -> None:
        """Count for this consent, and drop events of any other. None stops counting."""
        if consent != self.consent:
            self._events.clear()
        self.consent = consent

    def command(self, command_id: str) -> None:
        with contextlib.suppress(Exception):
            if self.consent is not None and self.now is not None and len(command_id) <= MAX_COMMAND_LENGTH:
                self._events.append((self.now(), str(command_id)))

    def layer(self, kind: str, data: Any) -> None:
        from napari_telemetry.layers import layer_kind

        with contextlib.suppress(Exception):
            if self.consent is not None and self.now is not None and (found := layer_kind(kind, data)) is not None:
                self._events.append((self.now(), found))

    def pop_all(self) -> list[tuple[datetime, Any]]:
        return [self._events.popleft() for _ in range(len(self._events))]

    def restore(self, events: list[tuple[datetime, Any]]) -> None:
        self._events.extendleft(reversed(events))


def counts_by_week(events: list[tuple[datetime, Any]]) -> dict[str, Counts]:
    from napari_telemetry.records import Counts
    from napari_telemetry.weeks import week_of

    found: dict[str, tuple[Counter[str], Counter[Any]]] = {}
    for at, event in events:
        commands, layers = found.setdefault(week_of(at), (Counter(), Counter()))
        (commands if isinstance(event, str) else layers)[event] += 1
    return {week: Counts(*both) for week, both in found.items()}


class UsageCounter:
    """Connects the collector to commands and layers. Keeps only weak references to viewers."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._viewers: list[weakref.ref[Any]] = []
        self._undo: list[Callable[[], None]] = []
        self._counted: weakref.WeakSet[Any] = weakref.WeakSet()
        self.is_connected = False

    def add(self, viewer: Any) -> None:
        if all(known() is not viewer for known in self._viewers):
            self._viewers.append(weakref.ref(viewer))
            if self.is_connected:
                self._connect_layers(viewer, present=True)

    def connect(self, *, present_layers: bool) -> None:
        """Start counting. ``present_layers``: whether to count existing layers."""
        if self.is_connected:
            return
        self.is_connected = True
        self._undo = [undo for wrap in (_wrap_app_model, _wrap_npe2) if (undo := wrap(self._collector.command)) is not None]
        for viewer in self._live_viewers():
            self._connect_layers(viewer, present=present_layers)

    def disconnect(self) -> None:
        if not self.is_connected:
            return
        self.is_connected = False
        while self._undo:
            self._undo.pop()()
        for viewer in self._live_viewers():
            viewer.layers.events.inserted.disconnect(self._on_inserted)

    def _live_viewers(self) -> Iterator[Any]:
        self._viewers = [known for known in self._viewers if known() is not None]
        for known in self._viewers:
            if (viewer := known()) is not None:
                yield viewer

    def _connect_layers(self, viewer: Any, present: bool) -> None:
        viewer.layers.events.inserted.connect(self._on_inserted)
        for layer in viewer.layers if present else ():
            self._count(layer)

    def _on_inserted(self, event: Any) -> None:
        self._count(event.value)

    def _count(self, layer: Any) -> None:
        with contextlib.suppress(Exception):  # counting must not break a layer
            if layer not in self._counted:  # otherwise it was moved, or counted on connecting
                self._counted.add(layer)
                self._collector.layer(layer_type(layer), layer.data)


def layer_type(layer: Any) -> str:
    """Return the layer type, such as ``image``, also for subclasses."""
    for kind in type(layer).__mro__:
        if kind.__module__.startswith("napari.layers.") and kind.__name__ != "Layer":
            return kind.__name__.lower()
    return "other"


_running = threading.local()


def _wrap_app_model(count: Callable[[str], None]) -> Callable[[], None] | None:
    from app_model import Application

    application = Application.get_app(APPLICATION)
    if application is None:
        return None

    def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
        def execute_command(id: str, *args: Any, **kwargs: Any) -> Any:
            count(id)
            around = getattr(_running, "ids", ())
            _running.ids = (*around, id)
            try:
                return original(id, *args, **kwargs)
            finally:
                _running.ids = around

        return execute_command

    return _patch_method(application.commands, "execute_command", wrapped)


def _wrap_npe2(count: Callable[[str], None]) -> Callable[[], None] | None:
    from npe2 import PluginManager

    manager = PluginManager.instance()
    kinds: dict[str, str | None] = {}

    def count_unless_running(id: str) -> None:
        if id not in getattr(_running, "ids", ()):  # app-model may run npe2 commands: count them once
            count(id)

    def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
        def get(id: str) -> Any:
            found = original(id)
            try:
                if id not in kinds:
                    kinds[id] = _contribution_kind(manager, id)
                kind = kinds[id]
                return found if kind is None else _counted(count_unless_running, id, kind, found)
            except Exception:
                return found

        return get

    return _patch_method(manager.commands, "get", wrapped)


def _contribution_kind(manager: Any, command_id: str) -> str | None:
    try:
        contributions = manager.get_manifest(command_id).contributions
    except KeyError:
        return None
    for kind in _CONTRIBUTIONS:
        if any(getattr(one, "command", None) == command_id for one in getattr(contributions, kind, None) or ()):
            return kind
    return None


def _counted(count: Callable[[str], None], command_id: str, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function to count its calls. A reader that declines the file is not counted."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if kind != "readers":
            count(command_id)
            return function(*args, **kwargs)
        read = function(*args, **kwargs)
        return _counted(count, command_id, "", read) if callable(read) else read

    return run


def _patch_method(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[], None]:
    """Replace a method, and return the undo function. If it was patched again since, it stays, but calls the original."""
    before, original = vars(owner).get(name), getattr(owner, name)
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
