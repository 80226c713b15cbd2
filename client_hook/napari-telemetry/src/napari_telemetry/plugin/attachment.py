"""What `attach` makes, once for each process: a session, counting, and a view in each window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_update_hook.plugin.instance import has_qt_application, posted_to_gui_thread

from napari_telemetry.plugin.counting import Counting
from napari_telemetry.plugin.session import Session
from napari_telemetry.plugin.snapshot import Snapshot

if TYPE_CHECKING:
    from datetime import datetime


class Attachment:
    """One session with all viewers that it was attached to. Holds viewers and windows weakly."""

    def __init__(self, session: Session | None = None) -> None:
        self.session = session or Session()
        self.counting = Counting()
        self._gui: Any = None
        self._listens = False
        self._has_followed = False

    def add(self, viewer: Any) -> None:
        """Take a viewer in, and start what was not started yet. May be called again for the same one.

        Called in another thread than the GUI's, it is done there, as soon as that one has time.
        """
        if has_qt_application() and posted_to_gui_thread(lambda: self.add(viewer)):
            return
        viewer = getattr(viewer, "__wrapped__", viewer)  # a plugin's widget is handed a proxy
        self.counting.add(viewer)
        gui = self.gui()
        if gui is not None:
            gui.show_in(viewer)
        self.session.start()

    def gui(self) -> Any:
        """Return the `plugin.qt.gui.Gui` of this process, or None where no Qt application runs."""
        if self._gui is None:
            if has_qt_application():
                from napari_telemetry.plugin.qt.gui import Gui

                self._gui = Gui(self)
            elif not self._listens:
                self._listens = True
                self.session.subscribe(self.follow)
        return self._gui

    def follow(self, snapshot: Snapshot) -> None:
        """Count where level full is in force, and nowhere else."""
        if snapshot.status is None:
            return
        is_first, self._has_followed = not self._has_followed, True
        if snapshot.status.level.value == "full":
            consent = snapshot.status.consent
            self.counting.connect(present_layers=is_first and consent is not None and _began_after(consent.at))
        else:
            self.counting.disconnect()

    def end(self) -> None:
        """Count and check no more."""
        self.session.stop()
        self.counting.disconnect()
        if self._gui is not None:
            self._gui.end()


def _began_after(instant: datetime) -> bool:
    """Whether this process began after an instant. Where that can't be told, it did not.

    Layers that are there when counting begins may be older than the consent: nothing from before one is ever sent.
    """
    try:
        import psutil  # which napari brings

        return bool(psutil.Process().create_time() > instant.timestamp())
    except Exception:
        return False


_attachment: Attachment | None = None


def running_session() -> Session | None:
    """Return the session of this process, None where nothing was attached."""
    return _attachment.session if _attachment is not None and _attachment.session.is_running else None


def attachment() -> Attachment:
    """Return the one of this process."""
    global _attachment
    if _attachment is None:
        _attachment = Attachment()
    return _attachment
