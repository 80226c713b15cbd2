"""What `attach` makes, once for each process: a session, counting, and a view in each window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_update_hook.plugin import instance

from napari_telemetry.plugin.counting import Counting
from napari_telemetry.plugin.session import Session, Snapshot

if TYPE_CHECKING:
    from datetime import datetime


class PluginInstance(instance.PluginInstance):
    """One session that counts in all viewers that it was attached to."""

    session: Session

    def __init__(self, session: Session | None = None) -> None:
        super().__init__(session or Session())
        self.counting = Counting(self.session.collector)
        self._has_followed = False

    def added(self, viewer: Any) -> None:
        """Count in a viewer."""
        self.counting.add(viewer)
        if self._gui is None and not self.session.is_running:
            self.session.subscribe(self.follow)

    def make_gui(self) -> Any:
        """Return the windows. Imports Qt."""
        from napari_telemetry.plugin.qt.gui import Gui

        return Gui(self)

    def follow(self, snapshot: Snapshot) -> None:
        """Count exactly while level full is in effect."""
        status = snapshot.status
        if status is None or status.decision.level.value != "full" or status.view.consent is None:
            self.counting.disconnect()
        else:
            # layers that exist when counting begins may be older than the consent
            self.counting.connect(present_layers=not self._has_followed and _began_after(status.view.consent.at))
        self._has_followed = self._has_followed or status is not None

    def end(self) -> None:
        """Stop counting, reading and drawing."""
        self.counting.disconnect()
        super().end()


def _began_after(instant: datetime) -> bool:
    """Whether this process began after an instant; False if that is not known."""
    try:
        import psutil  # which napari brings

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
    """Return the session of this process that runs, None if there is none."""
    return _instance.session if _instance is not None and _instance.session.is_running else None
