"""Run the environment's own tool, with a log and a *Cancel* button.

*Cancel* interrupts the tool; killing pip would leave a broken environment. The tool keeps running if napari exits.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from napari_update_hook.dry_run import DRY_RUN_TIMEOUT_S
from napari_update_hook.errors import InstallError
from napari_update_hook.install import argv_of
from napari_update_hook.installers import Command

Log = Callable[[Sequence[str]], object]
CANCELLED = "it was cancelled"
LAST_LINES = 8


class Runner:
    """Runs a tool in a child process. ``log``: called with new lines. ``cancelled``: to be set before `interrupt`."""

    can_interrupt = os.name == "posix"
    """On Windows, only console programs can be interrupted."""

    def __init__(self, log: Log, cancelled: threading.Event) -> None:
        self._log = log
        self._cancelled = cancelled
        self._pid: int | None = None
        self._dry_run: subprocess.Popen[str] | None = None
        self._lines: list[str] = []

    def run(self, commands: Sequence[Command], *, build: bool = False) -> str | None:
        """Run commands; return a failure message with the last lines of the output, or None."""
        for command in commands:
            if self._cancelled.is_set():
                return CANCELLED
            self._lines = []
            self.log(str(command))
            try:
                code = self.run_one(command, argv_of(command, build=build))
            except InstallError as error:
                return str(error)
            except OSError as error:
                return f"{command.argv[0]} could not be started ({error.strerror or error})"
            finally:
                self._pid = None
                importlib.invalidate_caches()
            if self._cancelled.is_set() and code != 0:
                return CANCELLED
            if code != 0:
                said = "\n".join(self._lines[-LAST_LINES:])
                return f"{command.tool.value} ended with exit code {code}. Last output:\n{said}"
        return None

    def run_one(self, command: Command, argv: Sequence[str]) -> int:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            output = Path(folder) / "output"
            with output.open("wb") as written:
                process = subprocess.Popen(
                    argv, stdout=written, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
                )
            self.started(process.pid)
            with output.open(encoding="utf-8", errors="replace") as read:
                has_ended = False
                while not has_ended:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(0.1)
                    has_ended = process.returncode is not None
                    self.log(read.read())
            return int(process.returncode)

    def captured(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Do a dry run that can be cancelled, and return its output. Raises InstallError."""
        try:
            process = subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, errors="replace"
            )
        except OSError as error:
            raise InstallError(f"{argv[0]} could not be started ({error.strerror or error}).") from error
        self._dry_run = process
        if self._cancelled.is_set():
            self.interrupt()
        try:
            output, errors = process.communicate(timeout=DRY_RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise InstallError(f"{argv[0]} did not finish its dry run in {DRY_RUN_TIMEOUT_S // 60} minutes.") from error
        finally:
            self._dry_run = None
        if self._cancelled.is_set():
            raise InstallError("Cancelled. Nothing was changed.")
        return subprocess.CompletedProcess(list(argv), process.returncode, output, errors)

    def started(self, pid: int) -> None:
        self._pid = pid
        if self._cancelled.is_set():
            self.interrupt()

    def log(self, text: str) -> None:
        lines = [line for line in map(str.rstrip, text.splitlines()) if line]
        self._lines += lines
        if lines:
            self._log(lines)

    def interrupt(self) -> None:
        """Interrupt the tool so that it rolls back, or terminate a dry run. Thread-safe."""
        if (process := self._dry_run) is not None:
            process.terminate()
        if (pid := self._pid) is not None and self.can_interrupt:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
