"""Install through napari-plugin-manager's queue. Importing it takes a second.

Run one job at a time, and wait for its process: the queue may report a failed job as finished while it still runs, and
starts the next job while a cancelled one still runs.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from napari_plugin_manager.base_qt_package_installer import InstallerQueue, InstallerTools
from napari_plugin_manager.qt_package_installer import (
    NapariInstallerQueue,
    NapariPipInstallerTool,
    NapariUvInstallerTool,
)
from qtpy.QtCore import QProcess
from qtpy.QtWidgets import QApplication

from napari_update_hook.dry_run import BINARY_ONLY
from napari_update_hook.errors import InstallError
from napari_update_hook.installers import Command, Tool
from napari_update_hook.plugin.runner import Log, Runner

Post = Callable[[Callable[[], None]], bool]
"""Posts work to the GUI thread; False if napari is closing."""


class PipQueue(NapariInstallerQueue):  # type: ignore[misc]  # untyped
    """A queue for packages installed by pip. It uses pip even if uv is installed."""

    PYPI_INSTALLER_TOOL_CLASS = NapariPipInstallerTool


class UvQueue(NapariInstallerQueue):  # type: ignore[misc]
    """A queue for packages installed by uv."""

    PYPI_INSTALLER_TOOL_CLASS = NapariUvInstallerTool


QUEUES = {  # not for conda: the queue would use different channels from the dry run
    Tool.PIP: (PipQueue, InstallerTools.PYPI),
    Tool.UV: (UvQueue, InstallerTools.PYPI),
}


class QueueRunner(Runner):
    def __init__(self, log: Log, cancelled: threading.Event, post: Post) -> None:
        super().__init__(log, cancelled)
        self._post = post

    def run_one(self, command: Command, argv: Sequence[str]) -> int:
        """Run a command in the queue. Raises OSError, or InstallError while the plugin manager is installing."""
        packages = packages_of(argv)
        if command.tool not in QUEUES or not packages:
            return super().run_one(command, argv)
        kind, tool = QUEUES[command.tool]
        ended: queue.SimpleQueue[int | Exception] = queue.SimpleQueue()

        def begin() -> None:
            try:
                self._begin(kind, tool, packages, ended.put)
            except Exception as error:
                ended.put(error)

        if not self._post(begin):
            raise InstallError("Nothing was installed, because napari is closing.")
        outcome = ended.get()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _begin(self, kind: Any, tool: Any, packages: list[str], end: Callable[[int | Exception], object]) -> None:
        """Start a job in a new queue, on the GUI thread; call ``end`` with the exit code or error when its process ends."""
        if plugin_manager_is_installing():
            raise InstallError("The plugin manager is installing something. Try again when it has finished.")
        application: Any = QApplication.instance()
        jobs = kind(parent=application)
        jobs.set_output_widget(_Output(self))
        jobs.install(tool, packages)
        (process,) = jobs.findChildren(QProcess)

        def started() -> None:
            if pid := int(process.processId()):
                self.started(pid)

        def end_if_stopped(*_: object) -> None:
            if process.state() != QProcess.ProcessState.NotRunning:
                return
            for signal, slot in connected:
                signal.disconnect(slot)
            is_normal = process.exitStatus() == QProcess.ExitStatus.NormalExit
            jobs.deleteLater()
            if process.error() == QProcess.ProcessError.FailedToStart:
                end(OSError(f"{process.program()}: {process.errorString()}"))
            else:
                end(process.exitCode() if is_normal else -1)

        def wait() -> None:
            process.waitForFinished(-1)

        connected = [
            (process.started, started), (process.finished, end_if_stopped), (process.errorOccurred, end_if_stopped),
            (application.aboutToQuit, wait),  # otherwise Qt would kill the process
        ]  # fmt: skip
        for signal, slot in connected:
            signal.connect(slot)
        started()
        end_if_stopped()  # the process may have failed already


def plugin_manager_is_installing() -> bool:
    """Return whether the plugin manager is installing; check processes too, because its queue forgets cancelled jobs."""
    queues = [one for window in QApplication.topLevelWidgets() for one in window.findChildren(InstallerQueue)]
    processes = [process for one in queues for process in one.findChildren(QProcess)]
    return any(one.hasJobs() for one in queues) or any(
        process.state() != QProcess.ProcessState.NotRunning for process in processes
    )


class _Output:
    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def append(self, text: str) -> None:
        self._runner.log(text)


def packages_of(argv: Sequence[str]) -> list[str]:
    """Return the options and requirements for the queue, which adds the Python; empty if the command installs nothing."""
    if "install" not in argv:
        return []
    told = list(argv[argv.index("install") + 1 :])
    requirements = [one for one in told if "=" in one and not one.startswith("-")]
    options = [one for one in ("--no-deps",) if one in told]
    options += BINARY_ONLY if BINARY_ONLY[0] in told else []
    return [*options, *requirements] if requirements else []
