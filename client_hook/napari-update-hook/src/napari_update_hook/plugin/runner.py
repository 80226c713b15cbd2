"""Runs the environment's own tool for the windows: with a log, and so that a person can stop it.

A tool that is killed leaves a broken environment: pip takes back what it began only when it is interrupted. So *Cancel*
interrupts it, and it survives the end of napari, because it writes into a file and belongs to a session of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from napari_update_hook.dry_run import DRY_RUN_TIMEOUT_S
from napari_update_hook.errors import InstallError
from napari_update_hook.install import argv_of
from napari_update_hook.installers import Command

LAST_LINES = 8
"""How much of the tool's output a failure quotes."""


class Runner:
    """One command at a time, in a process of ours. ``log``: called with each line of output."""

    can_interrupt = os.name == "posix"
    """Whether a tool can be asked to stop: on Windows only a program with a console can."""

    def __init__(self, log: Callable[[str], object]) -> None:
        self.is_cancelled = False
        self._log = log
        self._pid: int | None = None
        self._lines: list[str] = []

    def run(self, commands: Sequence[Command], *, build: bool = False) -> str | None:
        """Run commands to their end; return why they failed with the tool's last lines, None if they did not."""
        for command in commands:
            if self.is_cancelled:
                return "it was cancelled"
            self._lines = []
            self.log(str(command))
            try:
                code = self.run_one(command, argv_of(command, build=build))
            except OSError as error:
                return f"{command.argv[0]} could not be started ({error.strerror or error})"
            finally:
                self._pid = None
                importlib.invalidate_caches()
            if self.is_cancelled and code != 0:
                return "it was cancelled"
            if code != 0:
                said = "\n".join(self._lines[-LAST_LINES:])
                return f"{command.tool.value} ended with exit code {code}. It said:\n{said}"
        return None

    def run_one(self, command: Command, argv: Sequence[str]) -> int:
        """Run one command; return its exit code. Raises OSError."""
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
                    for line in read:
                        self.log(line)
            return int(process.returncode)

    def captured(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a dry run, which may be stopped at any time. Raises InstallError."""
        try:
            process = subprocess.Popen(
                argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, errors="replace"
            )
        except OSError as error:
            raise InstallError(f"{argv[0]} could not be started ({error.strerror or error}).") from error
        self.started(process.pid)
        try:
            output, errors = process.communicate(timeout=DRY_RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise InstallError(f"{argv[0]} did not finish its dry run in {DRY_RUN_TIMEOUT_S // 60} minutes.") from error
        finally:
            self._pid = None
        if self.is_cancelled:
            raise InstallError("Cancelled. Nothing was changed.")
        return subprocess.CompletedProcess(list(argv), process.returncode, output, errors)

    def started(self, pid: int) -> None:
        """Remember the process of the tool, and stop it if that was wanted meanwhile."""
        self._pid = pid
        if self.is_cancelled:
            self.cancel()

    def log(self, text: str) -> None:
        """Pass lines of output on."""
        for line in filter(None, map(str.rstrip, text.splitlines())):
            self._lines.append(line)
            self._log(line)

    def cancel(self) -> None:
        """Ask the tool to stop and to take back what it began. Thread-safe."""
        self.is_cancelled = True
        if (pid := self._pid) is not None and self.can_interrupt:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
