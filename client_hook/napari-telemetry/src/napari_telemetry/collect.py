"""Counts commands and layers while napari runs, at level full alone.

`count_command` and `count_layer` are what the GUI calls. They append to a queue in memory and return: no file, no network,
no lock, no exception. A daemon thread adds the queue to the state file every half minute, in one transaction, so that a
kill loses at most the counts since then and never counts one twice. Where nobody agreed to level full, or a switch is off,
nothing is appended at all.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any

from napari_telemetry.decision import decide
from napari_telemetry.facts import Facts
from napari_telemetry.layers import LayerKind, kind_of
from napari_telemetry.settings import ClientSettings
from napari_telemetry.state import ClientStore
from napari_telemetry.state.drafts import Counts
from napari_telemetry.weeks import start_of, week_of
from napari_telemetry.wire import Level

FLUSH_EVERY_S = 30.0
MOST_WAITING = 100_000
LONGEST_COMMAND = 256
"""Characters of a command id; the wire admits no longer ones."""


class Collector:
    """Counts for one environment, as long as its consent record, the site's rules and the environment variables allow it.

    ``facts``: gives what is installed, asked for once, in the background.
    """

    def __init__(
        self, settings: ClientSettings, store: ClientStore, facts: Callable[[], Facts], flush_every: float = FLUSH_EVERY_S
    ) -> None:
        self._settings = settings
        self._store = store
        self._read_facts = facts
        self._facts: Facts | None = None
        self._flush_every = flush_every
        self._events: deque[tuple[str, str | LayerKind]] = deque(maxlen=MOST_WAITING)
        self._week, self._week_starts, self._week_ends = "", 0.0, 0.0
        self._flushing = threading.Lock()
        self._wake = threading.Event()
        self._epoch = 0
        self.is_counting = False
        """Whether events are taken."""
        self.look_again()

    def command(self, command_id: str) -> None:
        """Count a use of a command. Raises whatever an odd argument raises."""
        if self.is_counting and len(command_id) <= LONGEST_COMMAND:
            self._events.append((self._current_week(), str(command_id)))

    def layer(self, layer_type: str, data: Any) -> None:
        """Count a layer. Raises whatever the attributes of ``data`` raise."""
        if self.is_counting and (kind := kind_of(layer_type, data)) is not None:
            self._events.append((self._current_week(), kind))

    def look_again(self) -> bool:
        """Read the consent record anew: after each change of it, and before each flush. Raises nothing.

        False where it can't be read, which is no answer: what waits goes on waiting.
        """
        try:
            epoch = self._store.drafts.epoch()
            decision = decide(self._store.consents.current(), self._settings, self._settings.now())
            may_count = decision.level is Level.FULL
        except Exception:
            return False
        if epoch != self._epoch or not may_count:  # what was counted under another answer is not kept
            self._events.clear()
        self._epoch, self.is_counting = epoch, may_count
        return True

    def flush(self) -> bool:
        """Add what waits to the state file. False where that could not be done: it waits on, up to a bound."""
        with self._flushing:
            if not self.look_again():
                return False
            taken = [self._events.popleft() for _ in range(len(self._events))]
            if not taken:
                return True
            try:
                self._add(taken)
            except Exception:  # state that can't be written: `napari-telemetry status` says so
                self._events.extendleft(reversed(taken))
                return False
            return True

    def _add(self, events: list[tuple[str, str | LayerKind]]) -> None:
        commands: dict[str, Counter[str]] = defaultdict(Counter)
        layers: dict[str, Counter[LayerKind]] = defaultdict(Counter)
        for week, event in events:
            if isinstance(event, str):
                commands[week][event] += 1
            else:
                layers[week][event] += 1
        forgotten = self._store.sendings.forgotten()
        service = self._settings.service
        weeks = {week for week in (*commands, *layers) if (service, week) not in forgotten}
        if self._facts is None:
            self._facts = self._read_facts()
        counted = {week: Counts(commands[week], layers[week]) for week in weeks}
        self._store.drafts.add(service, self._epoch, self._facts, counted)

    def start(self) -> None:
        """Flush in the background from now on, and once more when the process ends."""
        threading.Thread(target=self._keep_flushing, name="napari-telemetry-counts", daemon=True).start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """Flush, and count no more."""
        self._wake.set()
        self.flush()
        self.is_counting = False
        atexit.unregister(self.stop)

    def _keep_flushing(self) -> None:
        while not self._wake.wait(self._flush_every):
            self.flush()

    def _current_week(self) -> str:
        """The week of an event. Arithmetic alone but at the week's edges, or when the clock is set back over one."""
        now = self._settings.now()
        stamp = now.timestamp()
        if not self._week_starts <= stamp < self._week_ends:
            self._week = week_of(now)
            start = start_of(self._week)
            self._week_starts, self._week_ends = start.timestamp(), start.timestamp() + 7 * 86400
        return self._week


_active: Collector | None = None
_starting = threading.Lock()


def count_command(command_id: str) -> None:
    """Count that a command ran, by its id (``"napari.window.file.open_files_dialog"``). Never raises, never waits."""
    with contextlib.suppress(Exception):
        if (collector := _active) is not None:
            collector.command(command_id)


def flush_counts() -> None:
    """Add what waits to the state file now, so that whoever reads it finds it there. Never raises."""
    with contextlib.suppress(Exception):
        if (collector := _active) is not None:
            collector.flush()


def count_layer(layer_type: str, data: Any) -> None:
    """Count that a layer was added. ``layer_type``: such as ``"image"``; ``data``: its ``layer.data``, of which only class,
    shape and dtype are read. Never raises, never waits.
    """
    with contextlib.suppress(Exception):
        if (collector := _active) is not None:
            collector.layer(layer_type, data)


def start_counting(collector: Collector | None = None) -> Collector:
    """Take what `count_command` and `count_layer` tell from now on. ``collector``: default is one for this environment.

    Whether it counts anything is decided by the consent record. Raises SettingsError for settings that can't be used.
    """
    global _active
    with _starting:
        if _active is None:
            _active = collector or _collector_here()
            _active.start()
        return _active


def stop_counting() -> None:
    """Write down what was counted, and take nothing any more."""
    global _active
    with _starting:
        collector, _active = _active, None
    if collector is not None:
        collector.stop()


def consent_changed() -> None:
    """Let a collector that runs in this process obey a new answer at once."""
    if _active is not None:
        _active.look_again()


def _collector_here() -> Collector:
    import os

    from napari_telemetry.api import store_here
    from napari_telemetry.environment import read_environment
    from napari_telemetry.facts import facts_of
    from napari_telemetry.settings import settings_from

    settings = settings_from(os.environ)
    return Collector(settings, store_here(settings), lambda: facts_of(read_environment(), Level.FULL))
