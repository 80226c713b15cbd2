"""Kills at random moments, concurrent processes, a full disk, a read-only home."""

from __future__ import annotations

import gzip
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from napari_telemetry.records import Counts
from napari_telemetry.wire import Level

from tests.support.client import ALLOWED, NOON, TABLE_BODY, WEEK, Machine
from tests.support.crashing import (
    EVENT,
    context,
    count_some,
    count_until_killed,
    kill_after,
    retry_while_locked,
    send_until_killed,
)

KILLS = int(os.environ.get("TEST_KILLS", "210"))


def integrity(folder: Path) -> None:
    """Check every database; opening it first replays a journal that a kill left."""
    for path in folder.rglob("*.sqlite3"):
        database = sqlite3.connect(path)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",), path
        database.close()


@pytest.mark.slow
def test_kills_while_counting_lose_and_duplicate_no_counts(machine: Machine) -> None:
    machine.consent(Level.FULL)
    dice = random.Random(13)
    begun = done = kills = 0
    while kills < KILLS // 2 or (done <= KILLS and kills < 3 * KILLS):  # a busy machine writes less between kills
        kills += 1
        told = kill_after(count_until_killed, (str(machine.folder),), dice.random() / 30)
        begun, done = begun + told.count("counting"), done + told.count("counted")
        integrity(machine.folder)
        counted = machine.view.counts.get(WEEK, Counts()).commands.get(EVENT, 0)
        assert done <= counted <= begun
        done = begun = counted
    assert done > KILLS


@pytest.fixture
def recording() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the URL of a loopback server, and the reports that it accepted."""
    reports: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.answer(json.dumps(ALLOWED).encode() if "allowed" in self.path else TABLE_BODY)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            report = json.loads(gzip.decompress(body))["report"]
            reports.append(report)
            receipt = {
                "stored": True,
                "revision": report["revision"],
                "reason": None,
                "left_out": {"plugins": 0, "commands": 0},
            }
            self.answer(json.dumps({"receipt": receipt}).encode())

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # killed clients cause errors
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", reports
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_kills_while_sending_keep_records_consistent(machine: Machine, recording: tuple[str, list[dict[str, Any]]]) -> None:
    url, reports = recording
    machine.server = url
    machine.consent(Level.FULL)
    dice = random.Random(7)
    now = NOON
    events: dict[str, int] = defaultdict(int)
    kills = 0
    while kills < KILLS // 2 or (len({report["week"] for report in reports}) < 5 and kills < 3 * KILLS):
        kills += 1
        told = kill_after(send_until_killed, (str(machine.folder), url, now.isoformat()), dice.random() / 8)
        integrity(machine.folder)
        for week, at in told:
            events[week] += 1
            now = max(now, now.fromisoformat(at))
        assert machine.view.secrets is not None
    assert len({report["week"] for report in reports}) >= 5
    bodies: dict[tuple[str, str, str, int], set[str]] = defaultdict(set)
    for report in reports:
        key = report["week"], report["identifier"], report["environment"], report["revision"]
        bodies[key].add(json.dumps(report))
        assert report["command_usage"].get(EVENT, 0) <= events[report["week"]], "nothing was counted twice"
    assert all(len(contents) == 1 for contents in bodies.values()), "a revision never has two contents"
    identifiers = {one.week: one.identifier for one in machine.view.identifiers}
    kept = {batch.request for batch in machine.view.sent}
    assert kept
    for report in reports:
        if report["week"] in identifiers:
            assert report["identifier"] == identifiers[report["week"]]
            assert any(json.loads(request)["report"] == report for request in kept), "every sent report is recorded here"


@pytest.mark.slow
def test_eight_concurrent_processes_lose_no_counts(machine: Machine) -> None:
    machine.consent(Level.FULL)
    processes = [context().Process(target=count_some, args=(str(machine.folder), 50)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    counts = retry_while_locked(lambda: machine.view).counts[WEEK]
    assert counts.commands == {EVENT: 800, "napari.window.open": 400}


CLIENT_SCRIPT = """
import sys, resource
from pathlib import Path
import respx
from napari_telemetry.plugin.session import Session
from napari_telemetry.wire import Level
from napari_update_hook.errors import UpdateHookError
from tests.support.client import SERVER, Machine, accepting_server, reports_of

machine = Machine(Path(sys.argv[1]))
exec(sys.argv[2])
with respx.mock(base_url=SERVER, assert_all_called=False) as router:
    accepting_server(router)
    session = Session(lambda: machine.client)
    session._read()
    session.collector.command("affinder.start")
    session._flush()
    machine.client.send()
    print(len(reports_of(router)))
    print("status:", machine.client.status(check_health=True).problem)
    try:
        machine.consent(Level.BASIC)
    except UpdateHookError as error:
        print(error)
"""


def run_client_script(folder: Path, setup_code: str) -> str:
    """Return the output of a client that checks, counts and answers. ``setup_code``: code that runs first."""
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, *sys.path])}
    answer = subprocess.run(
        [sys.executable, "-c", CLIENT_SCRIPT, str(folder), setup_code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=root,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits and users")


@needs_posix
def test_a_full_disk_is_reported_and_nothing_is_sent(machine: Machine) -> None:
    """Limit the file size: to SQLite, a full disk is a file that cannot grow."""
    machine.consent(Level.FULL)
    said = run_client_script(machine.folder, "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))")
    assert said.startswith("0"), "a report that cannot be saved first is not sent"
    assert "status:" in said
    assert "Free some space" in said or "disk I/O error" in said
    integrity(machine.folder)
    assert run_client_script(machine.folder, "").startswith("1"), "works again once there is space"


@needs_posix
def test_a_read_only_home_is_reported_and_nothing_is_sent(machine: Machine) -> None:
    machine.consent(Level.FULL)
    for path in [*machine.folder.rglob("*"), machine.folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        setup_code = "import os; os.geteuid() == 0 and (os.setgroups([]), os.setgid(65534), os.setuid(65534))"
        said = run_client_script(_reachable(machine.folder), setup_code)
    finally:
        for path in [machine.folder, *machine.folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert said.startswith("0")
    assert said.split("status:")[1].count("NAPARI_UPDATE_STATE") == 2, "status and the failed answer say what to do"


def _reachable(folder: Path) -> Path:
    """Let all users enter the parent folders: pytest restricts its own. Return the folder."""
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if parent.stat().st_uid == os.getuid() and not mode & 0o005 and "pytest" in str(parent):
            parent.chmod(mode | 0o055)
    return folder


def test_the_last_counts_are_saved_at_exit(machine: Machine) -> None:
    machine.consent(Level.FULL)
    code = """
import sys, time
from pathlib import Path
from napari_telemetry.plugin.session import Session
from tests.support.client import Machine
machine = Machine(Path(sys.argv[1]))
session = Session(lambda: machine.client)
session.start()
while session.collector.consent is None:
    time.sleep(0.01)
session.collector.command("affinder.start")
"""
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, *sys.path])}
    subprocess.run([sys.executable, "-c", code, str(machine.folder)], env=environment, cwd=root, check=True, timeout=60)
    assert machine.view.counts[WEEK].commands == {EVENT: 1}
