"""A deployment as in compose.yaml, with the same Caddyfile, roles and secrets, but without containers."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.postgresql import Cluster, running_cluster
from tests.support.processes import clean_environment, end, reserved_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
SITE = "updates.localhost"
LEVELS = ("basic", "middle", "full")


@dataclass
class Secrets:
    folder: Path

    @classmethod
    def made_in(cls, folder: Path) -> Secrets:
        subprocess.run(["sh", str(ROOT / "deploy" / "make-secrets.sh"), str(folder)], check=True, capture_output=True)
        return cls(folder)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text("utf-8").strip()

    def password(self, role: str) -> str:
        lines = dict(line.split("=", 1) for line in self.read("role-passwords").splitlines())
        return lines[f"{role.upper()}_PASSWORD"]

    def pgpass(self, role: str) -> str:
        """Return the path of a private copy, because PostgreSQL's clients reject a file that others can read."""
        copy = self.folder / f"{role}-pgpass.here"
        copy.write_text((self.folder / f"{role}-pgpass").read_text("utf-8"), "utf-8")
        copy.chmod(0o600)
        return str(copy)


@dataclass
class Installation:
    """A running deployment. ``https``: Caddy's port.

    ``servers``: processes by port. ``logs``: log files by program. ``caddy``: Caddy's process id.
    """

    folder: Path
    secrets: Secrets
    raw: Cluster
    aggregate: Cluster
    https: int
    servers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)
    caddy: int = 0
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def root_certificate(self) -> Path:
        return self.folder / "caddy" / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def url(self, store: str, role: str, *, password: bool = False) -> str:
        cluster = self.raw if store == "raw" else self.aggregate
        secret = f":{self.secrets.password(role)}" if password else ""
        return f"postgresql+asyncpg://{role}{secret}@127.0.0.1:{cluster.port}/{store}"

    def client(self, host: str = SITE, address: str = "127.0.0.1", **options: Any) -> LoopbackClient:
        return LoopbackClient(self, host, address, options)

    def start_server(self, port: int) -> None:
        own = {
            "UPDATE_SERVER_DATA": str(self.folder / "data"),
            "UPDATE_SERVER_PORT": str(port),
            "UPDATE_SERVER_JOBS": "false",
            "UPDATE_SERVER_LEVEL_HOSTS": str({level: f"{level}.{SITE}" for level in LEVELS}).replace("'", '"'),
            "AGGREGATION_RAW_URL": self.url("raw", "web"),
            "AGGREGATION_AGGREGATE_URL": self.url("aggregate", "web"),
            "PGPASSFILE": self.secrets.pgpass("web"),
        }
        self.servers[port] = self.run(f"server-{port}", ["update_server", "run"], own | self.settings)
        wait_until(
            lambda: _answers(f"http://127.0.0.1:{port}/health/live"),
            f"A web process did not start:\n{self.logs[f'server-{port}'].read_text()[-2000:]}",
            self.servers[port],
        )

    def run(self, name: str, module: list[str], settings: dict[str, str]) -> subprocess.Popen[bytes]:
        self.logs[name] = self.folder / f"{name}.log"
        logs = {"UPDATE_SERVER_LOG_FORMAT": "json", "UPDATE_SERVER_ACCESS_LOG": "true"}
        environment = clean_environment(**(logs | settings))
        with self.logs[name].open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *module],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@dataclass
class LoopbackClient:
    """An HTTPS client with its own loopback address."""

    installation: Installation
    host: str
    address: str
    options: dict[str, Any]

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """Send a request, trusting only Caddy's local root certificate."""
        trust = ssl.create_default_context(cafile=str(self.installation.root_certificate))
        transport = httpx.HTTPTransport(verify=trust, local_address=self.address)
        with httpx.Client(transport=transport, timeout=30, headers={"accept-encoding": "identity"}) as client:
            return client.request(
                method,
                f"https://127.0.0.1:{self.installation.https}{path}",
                headers={"Host": self.host} | (headers or {}),
                extensions={"sni_hostname": self.host},
                **more,
            )

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.request("POST", path, json=body, **more)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, timeout=5).status_code == 200
    return False


def set_up_roles(cluster: Cluster, database: str, secrets: Secrets) -> None:
    """Create the database and its roles, as PostgreSQL's image does."""
    known = os.environ | {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(cluster.port),
        "PGPASSWORD": secrets.read(f"postgres-{database}-password"),
        "POSTGRES_DB": database,
        "ROLE_PASSWORDS_FILE": str(secrets.folder / "role-passwords"),
    }
    programs = str(cluster.programs)
    known["PATH"] = f"{programs}{os.pathsep}{known['PATH']}"
    subprocess.run(["createdb", "-U", "postgres", database], env=known, check=True, capture_output=True)
    script = str(ROOT / "deploy" / "postgres" / "roles.sh")
    subprocess.run(["sh", script], env=known, check=True, capture_output=True)


@contextlib.contextmanager
def running_installation(folder: Path, upstream: str, *, servers: int = 2, **settings: str) -> Iterator[Installation]:
    """Run a deployment; skip the test if Caddy or PostgreSQL is not installed. ``settings``: for the web processes."""
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("needs Caddy: apt-get install caddy")
    secrets = Secrets.made_in(folder / "secrets")
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(running_cluster(secrets.read("postgres-raw-password")))
        aggregate = stack.enter_context(running_cluster(secrets.read("postgres-aggregate-password")))
        set_up_roles(raw, "raw", secrets)
        set_up_roles(aggregate, "aggregate", secrets)
        installation = Installation(folder, secrets, raw, aggregate, reserved_port(), settings=settings)
        migrated = installation.run("migrate", ["update_server", "db", "migrate"], migration_env(installation))
        assert migrated.wait(120) == 0, installation.logs["migrate"].read_text()
        scheduler = installation.run("scheduler", ["update_server", "scheduler"], scheduler_env(installation, upstream))
        stack.callback(end, scheduler)
        wait_until(
            (folder / "data" / "index.snapshot").exists,
            lambda: f"The scheduler did not write an index:\n{installation.logs['scheduler'].read_text('utf-8')[-3000:]}",
            scheduler,
            seconds=180,
        )
        for _ in range(servers):
            installation.start_server(reserved_port())
        stack.callback(lambda: [end(process) for process in installation.servers.values()])
        stack.enter_context(running_caddy(installation, caddy))
        yield installation


def migration_env(installation: Installation) -> dict[str, str]:
    return {
        "AGGREGATION_RAW_URL": installation.url("raw", "web"),
        "AGGREGATION_RAW_SCHEDULER_URL": installation.url("raw", "scheduler"),
        "AGGREGATION_RAW_OWNER_URL": installation.url("raw", "owner"),
        "AGGREGATION_AGGREGATE_URL": installation.url("aggregate", "owner"),
        "PGPASSFILE": installation.secrets.pgpass("owner"),
    }


def scheduler_env(installation: Installation, upstream: str) -> dict[str, str]:
    return {
        "UPDATE_SERVER_DATA": str(installation.folder / "data"),
        "UPDATE_SERVER_UPSTREAM": upstream,
        "AGGREGATION_RAW_URL": installation.url("raw", "scheduler"),
        "AGGREGATION_AGGREGATE_URL": installation.url("aggregate", "scheduler"),
        "PGPASSFILE": installation.secrets.pgpass("scheduler"),
    }


@contextlib.contextmanager
def running_caddy(installation: Installation, caddy: str) -> Iterator[None]:
    """Run Caddy, which issues local certificates for subdomains of localhost."""
    installation.logs["caddy"] = installation.folder / "caddy.log"
    environment = (
        os.environ
        | {
            "SITE_HOST": SITE,
            "SERVERS": " ".join(f"127.0.0.1:{port}" for port in installation.servers),
            "MORE_SITES": str(ROOT / "deploy" / "grafana" / "grafana.caddy"),
            "GRAFANA": f"127.0.0.1:{reserved_port()}",
            "HTTPS_PORT": str(installation.https),
            "HTTP_PORT": str(reserved_port()),
            "CADDY_ADMIN": f"127.0.0.1:{reserved_port()}",
            "XDG_DATA_HOME": str(installation.folder / "caddy"),
            "XDG_CONFIG_HOME": str(installation.folder / "caddy-config"),
        }
        | {name: installation.settings[name] for name in ("GRAFANA",) if name in installation.settings}
    )
    command = [caddy, "run", "--config", str(ROOT / "deploy" / "Caddyfile"), "--adapter", "caddyfile"]
    with installation.logs["caddy"].open("ab") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    installation.caddy = process.pid
    try:

        def serves() -> bool:
            with contextlib.suppress(httpx.HTTPError, OSError):
                return installation.client().get("/health/live").status_code == 200
            return False

        wait_until(serves, f"Caddy does not serve:\n{installation.logs['caddy'].read_text()[-3000:]}", process)
        yield
    finally:
        end(process)
