"""Upstream, server and clients, all on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from queue import Queue
from typing import Any

from tests.support import waiting
from tests.support.processes import reserved_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180.0


class SimulationError(Exception):
    """The service or a client misbehaved; the message describes how."""


def wait_until(condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    try:
        waiting.wait_until(condition, seconds=PATIENCE_S)
    except AssertionError as error:
        raise SimulationError(otherwise()) from error


@dataclass
class Upstream:
    script: Path
    port: int = field(default_factory=reserved_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def show(self, day: date | None, **faults: float) -> None:
        """Restart with the releases up to ``day``, or all if None. ``faults``: fail_rate and truncate_rate."""
        self.stop()
        options = ["--as-of", day.isoformat()] if day else []
        options += [part for name, value in faults.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        command = [sys.executable, str(self.script), "--port", str(self.port), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, lambda: f"{self.script} does not answer on {self.url}")

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/classifiers.json", timeout=5).close()
        except urllib.error.HTTPError:
            return True  # an injected fault
        except OSError:
            return False
        return True

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


@dataclass
class ServerProcess:
    """The service as a process. ``cpu_s``: CPU seconds of all runs, including children."""

    data: Path
    log: Path
    port: int = field(default_factory=reserved_port)
    cpu_s: float = 0.0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, code: Path | None, now: datetime, upstream: str) -> None:
        """Start the server. ``code``: source folder of a later release, or None for this one."""
        unlimited = dict.fromkeys(
            ("UPDATE_SERVER_REPORTS_PER_MINUTE", "UPDATE_SERVER_REPORTS_PER_DAY", "UPDATE_SERVER_QUESTIONS_PER_MINUTE"), "0"
        )  # all clients use the same IP address
        environment = os.environ | unlimited
        environment |= {
            "UPDATE_SERVER_DATA": str(self.data), "UPDATE_SERVER_PORT": str(self.port), "UPDATE_SERVER_UPSTREAM": upstream,
            "UPDATE_SERVER_NOW": now.isoformat(), "UPDATE_SERVER_LOG_FORMAT": "json", "UPDATE_SERVER_ACCESS_LOG": "true",
            "PYTHONPATH": str(code or ROOT),
        }  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "update_server", "run"],
                env=environment,
                cwd=code or ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: self.ask("/health/live") is not None, lambda: f"the server did not start: {self._end_of_log()}")

    def ask(self, path: str) -> Any:
        """Return the JSON of a response with any status, or None without a response."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.loads(error.read())
        except OSError:
            return None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop the server, or kill it and its children; add its CPU time."""
        if self.process is None:
            return
        if how is signal.SIGKILL:
            os.killpg(self.process.pid, how)
        else:
            self.process.send_signal(how)
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_s += used.ru_utime + used.ru_stime
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if how is not signal.SIGKILL and self.process.returncode != 0:
            raise SimulationError(f"the server ended with {self.process.returncode}: {self._end_of_log()}")
        self.process = None

    def _end_of_log(self) -> str:
        return "".join(self.log.read_text("utf-8", "replace").splitlines(keepends=True)[-20:])


class Clients:
    """Processes that run sessions of one client release."""

    def __init__(self, code: Path | None, processes: int) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, filter(None, (code, ROOT))))}
        self._answers: Queue[dict[str, Any]] = Queue()
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.simulation.worker"],
                env=environment,
                cwd=code or ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            for _ in range(processes)
        ]
        self._turn = 0
        for process in self._processes:
            threading.Thread(target=self._listen, args=(process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._answers.put(json.loads(line))

    def send(self, sessions: list[dict[str, Any]]) -> None:
        stdin = self._processes[self._turn % len(self._processes)].stdin
        assert stdin is not None
        stdin.write(json.dumps(sessions) + "\n")
        self._turn += 1

    def take(self, count: int) -> Iterator[dict[str, Any]]:
        for _ in range(count):
            yield self._answers.get(timeout=PATIENCE_S)

    def close(self) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)
