"""Every acknowledged report is stored once with its highest revision, despite kills, restarts and full disks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from napari_telemetry.weeks import week_of
from napari_telemetry.wire import Level

from aggregation.settings import Store
from aggregation.stores.raw import open_raw_store
from tests.support.batches import batch_json
from tests.support.postgresql import running_cluster
from tests.support.processes import clean_environment, end, reserved_port
from tests.support.stores import migrated, sqlite_urls
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")]

KILLS = int(os.environ.get("TEST_SERVER_KILLS", "8"))
WEEK = week_of(datetime.now(UTC))
CLIENTS = 24
RETRIED = (httpx.HTTPError, OSError)


class Replica:
    """A service process with a fixed port and fixed stores."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = reserved_port()
        self.url = f"http://127.0.0.1:{self.port}"
        limits = dict.fromkeys(("REPORTS_PER_MINUTE", "REPORTS_PER_DAY", "QUESTIONS_PER_MINUTE"), "0")
        own = {f"UPDATE_SERVER_{name}": value for name, value in limits.items()}
        own |= {"UPDATE_SERVER_DATA": str(folder), "UPDATE_SERVER_PORT": str(self.port), "UPDATE_SERVER_JOBS": "false"}
        self._environment = clean_environment(**(own | {"UPDATE_SERVER_LOG_LEVEL": "error"} | settings))
        self._log = folder.parent / f"replica-{self.port}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, largest_file: int | None = None) -> None:
        def limit() -> None:
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))

        with self._log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "update_server", "run"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=limit,
            )

    def kill(self) -> None:
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait(self, seconds: float = 60) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health/live", timeout=2).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"did not start:\n{self._log.read_text()[-3000:]}")

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            end(self.process)


def batch_of(person: int, revision: int) -> bytes:
    report = {"week": WEEK, "identifier": f"{person:032x}", "environment": f"{person:08x}", "revision": revision}
    return json.dumps(batch_json(Level.MIDDLE, **report)).encode()


class Senders:
    """``told``: the highest acknowledged revision of each client, by number."""

    def __init__(self, urls: Sequence[str], pause: float = 0.0) -> None:
        self.told: dict[int, int] = {}
        self.refused: list[httpx.Response] = []
        self._urls = urls
        self._pause = pause
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(person,), daemon=True) for person in range(CLIENTS)]

    def lowest_revision(self) -> int:
        return min(self.told.get(person, 0) for person in range(CLIENTS))

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)

    def _send(self, person: int) -> None:
        dice = random.Random(person)
        revision = 1
        with httpx.Client(timeout=15, headers={"content-type": "application/json"}) as client:
            while not self._stopped.is_set():
                try:
                    url = f"{dice.choice(self._urls)}/api/updates/middle?python=3.11"
                    answer = client.post(url, content=batch_of(person, revision))
                except RETRIED:
                    self._stopped.wait(0.05)
                    continue
                if answer.status_code == 200:
                    receipt = answer.json()["receipt"]
                    assert receipt["stored"], receipt
                    self.told[person] = revision
                    revision += 1
                else:
                    self.refused.append(answer)
                    self._stopped.wait(0.05)
                self._stopped.wait(self._pause)


async def stored_revisions(url: str) -> dict[int, list[int]]:
    """Return the revisions in the raw store by person."""
    raw = open_raw_store(url)
    found: dict[int, list[int]] = {}
    for week in await raw.weeks():
        async for rows in raw.rows(week):
            for identifier, _, revision, *_ in rows:
                found.setdefault(int(identifier, 16), []).append(revision)
    await raw.close()
    return found


def compare(told: dict[int, int], stored: dict[int, list[int]]) -> None:
    """Compare; the next revision may be stored, too, if its response was lost."""
    assert len(told) == CLIENTS
    for person, revision in told.items():
        assert len(stored[person]) == 1, "stored exactly once"
        assert revision <= stored[person][0] <= revision + 1


def test_reports_survive_repeated_kills_on_sqlite(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "data")
    replica.start()
    replica.wait()
    dice = random.Random(3)
    with Senders([replica.url]) as senders:
        for _ in range(KILLS):
            time.sleep(dice.random() / 2)
            replica.kill()
            replica.start()
            replica.wait()
        assert sum(senders.told.values()) > KILLS, "clients send during the kills"
        wait_until(lambda: senders.lowest_revision() > KILLS // 4, "clients do not continue after the last kill")
    replica.stop()
    compare(senders.told, asyncio.run(stored_revisions(sqlite_urls(tmp_path / "data")[Store.RAW])))
    assert {answer.status_code for answer in senders.refused} <= {503}


@pytest.fixture
def migrated_cluster(tmp_path: Path) -> Iterator[Any]:
    with running_cluster() as cluster:
        for store in Store:
            asyncio.run(migrated(store, cluster.url))
        yield cluster


@contextlib.contextmanager
def replicas_on(cluster: Any, folder: Path, count: int) -> Iterator[list[Replica]]:
    urls = {"AGGREGATION_RAW_URL": cluster.url, "AGGREGATION_AGGREGATE_URL": cluster.url}
    replicas = [Replica(folder / f"replica-{number}" / "data", **urls) for number in range(count)]
    for replica in replicas:
        Path(replica._log).parent.mkdir(parents=True, exist_ok=True)
        replica.start()
    try:
        for replica in replicas:
            replica.wait()
        yield replicas
    finally:
        for replica in replicas:
            replica.stop()


@pytest.mark.postgresql
def test_reports_survive_kills_and_database_restarts_on_postgresql(migrated_cluster: Any, tmp_path: Path) -> None:
    dice = random.Random(5)
    with replicas_on(migrated_cluster, tmp_path, 2) as replicas, Senders([replica.url for replica in replicas]) as senders:
        for number in range(max(2, KILLS // 5)):
            time.sleep(dice.random())
            killed = replicas[number % 2]
            killed.kill()
            killed.start()
            killed.wait()
        before = dict(senders.told)
        for mode in ("fast", "immediate"):
            time.sleep(0.5)
            migrated_cluster.stop(mode)
            time.sleep(1)
            migrated_cluster.start()
        wait_until(lambda: all(senders.told[person] > revision for person, revision in before.items()), "reports do not resume")
    compare(senders.told, asyncio.run(stored_revisions(migrated_cluster.url)))
    assert {answer.status_code for answer in senders.refused} <= {503}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in senders.refused)


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit changes a limit of a running process")
def test_full_disk_gives_503_and_recovery_needs_no_restart(tmp_path: Path) -> None:
    """Limit the file size, which gives SQLite the errors of a full disk."""
    replica = Replica(tmp_path / "data")
    replica.start()  # with room for the index and the first tables
    replica.wait()
    path = f"{replica.url}/api/updates/middle?python=3.11"
    headers = {"content-type": "application/json"}
    assert replica.process is not None
    pids = _group(replica.process.pid)
    with httpx.Client(timeout=30) as client:
        assert client.post(path, content=batch_of(1, 1), headers=headers).status_code == 200
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (64 * 1024, resource.RLIM_INFINITY))
        statuses: list[int] = []
        for person in range(2, 200):
            answer = client.post(path, content=batch_of(person, 1), headers=headers)
            statuses.append(answer.status_code)
            if answer.status_code != 200:
                assert int(answer.headers["retry-after"]) > 0
                break
        assert statuses[-1] == 503
        assert client.get(f"{replica.url}/api/updates?python=3.11").status_code == 200
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert client.post(path, content=batch_of(500, 1), headers=headers).status_code == 200
    replica.stop()
    stored = asyncio.run(stored_revisions(sqlite_urls(tmp_path / "data")[Store.RAW]))
    assert set(stored) >= {1, 500, *(2 + number for number, status in enumerate(statuses) if status == 200)}


def _group(leader: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "-g", str(leader)], capture_output=True, text=True, check=True)
    return [int(line) for line in listed.stdout.split()]
