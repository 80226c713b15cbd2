"""What `attach` makes, once for each process: a session, counting, and a view in each window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_update_hook.plugin.instance import has_qt_application, posted_to_gui_thread

from napari_telemetry.plugin.counting import Counting
from napari_telemetry.plugin.session import Session, Snapshot

if TYPE_CHECKING:
    from datetime import datetime


class PluginInstance:
    """One session with all viewers that it was attached to. Keeps no strong reference to viewers and windows."""

    def __init__(self, session: Session | None = None) -> None:
        self.session = session or Session()
        self.counting = Counting(self.session.collector)
        self._gui: Any = None
        self._has_followed = False

    def add(self, viewer: Any) -> None:
        """Add a viewer, and start the session. May be called again for the same one.

        Thread-safe: re-posts itself to the GUI thread.
        """
        if has_qt_application() and posted_to_gui_thread(lambda: self.add(viewer)):
            return
        viewer = getattr(viewer, "__wrapped__", viewer)  # a plugin's widget is handed a proxy
        self.counting.add(viewer)
        if (gui := self.gui()) is not None:
            gui.show_in(viewer)
        elif not self.session.is_running:
            self.session.subscribe(self.follow)
        self.session.start()

    def gui(self) -> Any:
        """Return the `plugin.qt.gui.Gui` of this process, or None where no Qt application runs."""
        if self._gui is None and has_qt_application():
            from napari_telemetry.plugin.qt.gui import Gui

            self._gui = Gui(self)
        return self._gui

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
        self.session.stop()
        self.counting.disconnect()
        if self._gui is not None:
            self._gui.end()


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
    if _instance is None:
        _instance = PluginInstance()
    return _instance


def running_session() -> Session | None:
    """Return the session of this process that runs, None if there is none."""
    return _instance.session if _instance is not None and _instance.session.is_running else None
