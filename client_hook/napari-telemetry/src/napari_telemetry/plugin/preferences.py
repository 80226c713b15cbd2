"""napari's Preferences as a view of the consent record. The record is the truth: what differs there is set back.

napari 0.9 makes a page of the manifest's ``configurations``, and keeps what is chosen there in a file of its own, which
"Restore defaults" wipes. Before 0.9 there is no such page.

What is chosen there is in napari's settings at once, also where somebody only scrolls over it, and "Cancel" sets back what was
found when the Preferences were opened. So a lower level counts at once, and a higher one is no answer yet: when the Preferences
are closed and it was kept, the question is put with that level chosen, which shows what it sends. What a program writes into
these settings is set back.

To make these settings takes napari 50 ms and more, for which it holds the interpreter's lock. So they are not asked for until
somebody else has, which is when the Preferences are opened; or where their file says something else than the record.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_telemetry.plugin.snapshot import Snapshot, Task

if TYPE_CHECKING:
    from napari_telemetry.plugin.session import Session

PLUGIN = "napari-telemetry"
MEANS = "napari Preferences"
DEFAULT = "none"
_LEVELS = ("none", "basic", "middle", "full")

WhenClosed = Callable[[Callable[[bool], None]], bool]
"""Has a function called once the Preferences are closed, with whether what was chosen is kept. False: they are not open."""


class Preferences:
    """Keeps the page in step, in both directions. `follow` is called often, in the GUI thread.

    ``ask``: puts the question with a level chosen.
    """

    def __init__(
        self, session: Session, when_closed: WhenClosed = lambda _: False, ask: Callable[[str], None] = lambda _: None
    ) -> None:
        self._session = session
        self._when_closed = when_closed
        self._ask = ask
        self._waits = False
        self._page: Any = None
        self._shown: str | None = None
        self._compared: str | None = None
        self._is_setting = False

    def follow(self, snapshot: Snapshot) -> None:
        """Show the recorded answer."""
        status = snapshot.status
        if status is None or status.problems or snapshot.is_busy(Task.ANSWER):
            return  # while an answer is written down, the record is still the old one
        wanted = status.agreed.value
        if not _are_made():
            if wanted != self._compared:
                self._compared = wanted
                self._session.run(lambda: _made_where_not(wanted))
            return
        page = _page()
        if page is None or (page is self._page and wanted == self._shown):
            return
        if page is not self._page:  # napari makes it anew when plugins come and go
            self._page = page
            page.events.level.connect(self._on_level)
        self._show(wanted)

    def end(self) -> None:
        """Listen no more."""
        if self._page is not None:
            with contextlib.suppress(Exception):  # the page may be gone
                self._page.events.level.disconnect(self._on_level)

    def _show(self, wanted: str) -> None:
        self._is_setting = True
        try:
            self._shown = wanted
            self._page.level = wanted
        finally:
            self._is_setting = False

    def _on_level(self, event: Any) -> None:
        level = _value(event)
        if self._is_setting or self._shown is None or level == self._shown:
            return
        if _LEVELS.index(level) < _LEVELS.index(self._shown):
            self._answer(level)
        elif not self._waits:
            self._waits = self._when_closed(self._closed)
            if not self._waits:
                self._show(self._shown)

    def _closed(self, is_kept: bool) -> None:
        """Ask about a level that was raised, and show what holds until that is answered."""
        self._waits = False
        if self._page is None or self._shown is None:
            return
        level = _value(self._page.level)
        if level != self._shown:
            self._show(self._shown)
            if is_kept:
                self._ask(level)

    def _answer(self, level: str) -> None:
        assert self._shown is not None
        self._shown = level
        status = self._session.snapshot.status
        service = status.service if status is not None else ""
        self._session.answer(level, means=MEANS, service=service, for_as_long_as_before=True)


def _are_made() -> bool:
    """Whether napari has made the settings of plugins. It has no public way to tell."""
    return bool(getattr(sys.modules.get("napari.settings"), "_PLUGIN_SETTINGS", None))


def _made_where_not(wanted: str) -> None:
    """Have napari make them where their file does not say what is wanted. Called in the background."""
    if _saved() != wanted:
        _page()


def _saved() -> str:
    """The level that the file of this page says."""
    import yaml
    from napari.settings import get_settings

    folder = get_settings().config_path
    try:
        text = (folder.parent / f"{PLUGIN}.yaml").read_text("utf-8") if folder is not None else ""
        return str(yaml.safe_load(text)["sharing"].get("level", DEFAULT))
    except (OSError, TypeError, KeyError, AttributeError, yaml.YAMLError):  # none yet, or nothing in it
        return DEFAULT


def _page() -> Any:
    """The settings of this plugin, or None where napari has none."""
    try:
        from napari.settings import get_plugin_settings

        return get_plugin_settings(PLUGIN).sharing
    except (ImportError, KeyError, AttributeError):  # before 0.9; a disabled plugin
        return None


def _value(event: Any) -> Any:
    value = getattr(event, "value", event)
    return getattr(value, "value", value)
