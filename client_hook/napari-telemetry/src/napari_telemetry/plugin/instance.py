"""The telemetry plugin's process-wide instance: its session, counting and GUI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_update_hook.plugin import instance

from napari_telemetry.plugin.counting import UsageCounter
from napari_telemetry.plugin.session import Session, Snapshot

if TYPE_CHECKING:
    from datetime import datetime


class PluginInstance(instance.PluginInstance):
    """Owns the session, the counting and the GUI."""

    """Owns the session, the counting and the GUI."""

    session: Session

    def __init__(self, session: Session | None = None) -> None:
        super().__init__(session or Session())
        self.counting = UsageCounter(self.session.collector)
        self._has_followed = False

    def on_viewer_added(self, viewer: Any) -> None:
        self.counting.add(viewer)
        if self._gui is None and not self.session.is_running:
            self.session.subscribe(self.follow)

    def make_gui(self) -> Any:
        from napari_telemetry.plugin.qt.gui import Gui

        return Gui(self)

    def follow(self, snapshot: Snapshot) -> None:
        """Start counting at level full, and stop it otherwise."""
        """Start counting at level full, and stop it otherwise."""
        status = snapshot.status
        if status is None or status.decision.level.value != "full" or status.view.consent is None:
            self.counting.disconnect()
        else:
            # existing layers may be older than the consent
            self.counting.connect(present_layers=not self._has_followed and _process_started_after(status.view.consent.at))
        self._has_followed = self._has_followed or status is not None

    def end(self) -> None:
        self.counting.disconnect()
        super().end()


def _process_started_after(instant: datetime) -> bool:
    """Whether the process started after ``instant``; False if unknown."""
    try:
        import psutil  # a dependency of napari

        return bool(psutil.Process().create_time() > instant.timestamp())
    except Exception:
        return False


_instance: PluginInstance | None = None


def get_instance() -> PluginInstance:
    """Return the process-wide instance."""
    global _instance
    if _instance is None or _instance.has_ended:
        _instance = PluginInstance()
    return _instance


def running_session() -> Session | None:
    """Return the session if it is running."""
    """Return the session if it is running."""
    return _instance.session if _instance is not None and _instance.session.is_running else None
