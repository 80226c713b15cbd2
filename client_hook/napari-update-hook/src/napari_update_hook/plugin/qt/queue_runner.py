"""Installs by the queue of napari-plugin-manager, which must be installed: importing this takes a second.

One job at a time, and what counts is the process itself: the queue reports a job as finished that goes on after an error, and
starts the next beside a job that it cancels.
"""

from __future__ import annotations

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
"""Lets the GUI thread do something; False where napari is closing."""


class PipQueue(NapariInstallerQueue):  # type: ignore[misc]  # it has no types
    """Updates with pip what pip installed, also where uv is installed."""

    PYPI_INSTALLER_TOOL_CLASS = NapariPipInstallerTool


class UvQueue(NapariInstallerQueue):  # type: ignore[misc]
    """Updates with uv what uv installed."""

    PYPI_INSTALLER_TOOL_CLASS = NapariUvInstallerTool


QUEUES = {
    Tool.PIP: (PipQueue, InstallerTools.PYPI),
    Tool.UV: (UvQueue, InstallerTools.PYPI),
    Tool.CONDA: (NapariInstallerQueue, InstallerTools.CONDA),
}


class QueueRunner(Runner):
    """Runs installations by the plugin manager's queue, and what it cannot do in a process of ours."""

    def __init__(self, log: Log, cancelled: threading.Event, post: Post) -> None:
        super().__init__(log, cancelled)
        self._post = post

    def run_one(self, command: Command, argv: Sequence[str]) -> int:
        """Run one command; return its exit code. Raises OSError, and InstallError while the plugin manager installs."""
        packages = packages_of(argv)
        if command.tool not in QUEUES or not packages:
            return super().run_one(command, argv)
        job = _Job(self, *QUEUES[command.tool], packages)
        if not self._post(job.begin):
            raise InstallError("napari is closing.")
        job.has_ended.wait()
        if job.error is not None:
            raise job.error
        return job.code


class _Job:
    """One installation. Everything but ``has_ended`` belongs to the GUI thread until it has ended."""

    def __init__(self, runner: Runner, kind: Any, tool: Any, packages: list[str]) -> None:
        self.has_ended = threading.Event()
        self.error: Exception | None = None
        self.code = -1
        self._runner = runner
        self._kind = kind
        self._tool = tool
        self._packages = packages
        self._queue: Any = None
        self._process: Any = None

    def begin(self) -> None:
        """Put it into a queue of its own."""
        try:
            if plugin_manager_installs():
                raise InstallError("The plugin manager is installing something. Try again when it has finished.")
            application: Any = QApplication.instance()
            self._queue = self._kind(parent=application)
            self._queue.set_output_widget(_Output(self._runner))
            self._queue.install(self._tool, self._packages)
            self._process = self._queue.findChildren(QProcess)[0]
            self._process.finished.connect(self._end_if_gone)
            self._process.errorOccurred.connect(self._end_if_gone)
            self._process.started.connect(self._started)
            application.aboutToQuit.connect(self._wait)  # Qt would kill it
            self._started()
            self._end_if_gone()
        except Exception as error:
            self.error = error
            self.has_ended.set()

    def _started(self) -> None:
        if pid := int(self._process.processId()):
            self._runner.started(pid)

    def _end_if_gone(self, *_: object) -> None:
        if self._process.state() != QProcess.ProcessState.NotRunning or self.has_ended.is_set():
            return
        self.code = self._process.exitCode() if self._process.exitStatus() == QProcess.ExitStatus.NormalExit else -1
        if self._process.error() == QProcess.ProcessError.FailedToStart:
            self.error = OSError(f"{self._process.program()}: {self._process.errorString()}")
        self._queue.deleteLater()
        self.has_ended.set()

    def _wait(self) -> None:
        if not self.has_ended.is_set():
            self._process.waitForFinished(-1)


def plugin_manager_installs() -> bool:
    """Whether a dialog of the plugin manager installs: its queue forgets a job that it cancels, whose tool goes on."""
    queues = [queue for window in QApplication.topLevelWidgets() for queue in window.findChildren(InstallerQueue)]
    processes = [process for queue in queues for process in queue.findChildren(QProcess)]
    return any(queue.hasJobs() for queue in queues) or any(
        process.state() != QProcess.ProcessState.NotRunning for process in processes
    )


class _Output:
    """Takes the place of the widget to which a queue writes."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def append(self, text: str) -> None:
        """Pass a text on to the log."""
        self._runner.log(text)


def packages_of(argv: Sequence[str]) -> list[str]:
    """Return what to tell a queue, which adds Python, prefix and channel by itself; empty for what is no installation."""
    if "install" not in argv:
        return []
    told = list(argv[argv.index("install") + 1 :])
    requirements = [one for one in told if "=" in one and not one.startswith("-")]
    options = [one for one in ("--no-deps",) if one in told]
    options += BINARY_ONLY if BINARY_ONLY[0] in told else []
    return [*options, *requirements] if requirements else []
