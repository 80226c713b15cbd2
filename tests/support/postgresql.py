"""A PostgreSQL server that tests can stop, kill and restart."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import reserved_port


class ClusterError(Exception):
    """A PostgreSQL program failed; the message is its output."""


@dataclass
class Cluster:
    programs: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/postgres"

    def call(self, *command: str) -> None:
        """Run a PostgreSQL program, as user postgres if this process is root."""
        full = [str(self.programs / command[0]), *command[1:]]
        if os.geteuid() == 0:
            full = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *full]
        patient = os.environ | {"PGCTLTIMEOUT": "120"}
        ended = subprocess.run(full, capture_output=True, text=True, cwd="/", timeout=150, env=patient)
        if ended.returncode:
            raise ClusterError(f"{' '.join(full)} ended with {ended.returncode}: {ended.stdout}{ended.stderr}")

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c max_connections=60"
        self.call("pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-o", options, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server. ``mode``: fast, or immediate (like a crash)."""
        self.call("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "stop")


@contextlib.contextmanager
def running_cluster(password: str | None = None) -> Iterator[Cluster]:
    """Run a new server; skip the test if PostgreSQL is not installed.

    ``password``: of the superuser; if set, every user needs a password, as in production. Uses its own temporary folder,
    because user postgres cannot read pytest's.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    programs = found[-1].parent if found else Path(shutil.which("initdb") or "/nowhere/initdb").parent
    if not (programs / "initdb").exists():
        pytest.skip("needs PostgreSQL's programs: apt-get install postgresql")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("needs setpriv to run PostgreSQL as another user: apt-get install util-linux")
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    cluster = Cluster(programs, folder, reserved_port())
    how = ["-A", "trust"]
    if password is not None:
        secret = folder / "password"
        secret.write_text(password, "utf-8")
        secret.chmod(0o644)
        how = ["-A", "scram-sha-256", f"--pwfile={secret}"]
    cluster.call("initdb", "-D", str(folder / "data"), *how, "-U", "postgres", "--no-sync")
    cluster.start()
    try:
        yield cluster
    finally:
        for _ in range(3):
            with contextlib.suppress(ClusterError):
                cluster.stop("immediate")
                break
            time.sleep(1)
        shutil.rmtree(folder, ignore_errors=True)
