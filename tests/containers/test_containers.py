"""Run compose.yaml in Docker with the commands of docs/operations.md.

Needs TEST_CONTAINERS (`make test-containers`), root, Docker and ten minutes. Publishes ports only on 127.0.0.1, and leaves
only images behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from napari_telemetry.weeks import week_of
from napari_telemetry.wire import TELEMETRY_LEVELS, Level

from tests.containers.base_images import build_missing
from tests.support.batches import batch_json
from tests.support.processes import reserved_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
SITE = "updates.localhost"
PROJECT = "napari-updates-test"
SERVICES = ("server-1", "server-2", "scheduler")
GETS_PER_SECOND, POSTS_PER_SECOND = 4, 2
CHECKS_PER_SECOND, REPORTS_PER_SECOND = 116, 50
"""Average load of ten million environments: see docs/scaling.md."""
PEOPLE = itertools.count(10_000)
HOST_SETUP_PREFIX = "install "
"""Prefix of the documented commands to skip, because they change the host."""

pytestmark = pytest.mark.containers


def missing_requirement() -> str | None:
    if os.geteuid():
        return "needs root: the secrets belong to the users of the containers"
    for program in ("docker", "mmdebstrap"):
        if shutil.which(program) is None:
            return f"needs {program}: apt-get install {'docker.io' if program == 'docker' else program}"
    for command, missing in (
        (["docker", "info"], "Docker is not running: start dockerd"),
        (["docker", "compose", "version"], "needs Compose 2: https://docs.docker.com/compose/install/linux/"),
    ):
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        if told.returncode:
            return f"{missing} ({told.stderr.strip()})"
    return None


class Deployment:
    """A copy of the repository in which to run the documented commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = reserved_port()
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        services = "\n".join(f"  {name}: *here" for name in (*SERVICES, "migrate", "postgres-raw", "postgres-aggregate"))
        (folder / "test.yaml").write_text(
            f"""x-here: &here
  logging: !override {{ driver: json-file }}
services:
{services}
  caddy:
    logging: !override {{ driver: json-file }}
    ports: !override ["127.0.0.1:{self.port}:443"]
"""
        )
        self.environment = os.environ | {
            "COMPOSE_FILE": "compose.yaml:test.yaml",
            "COMPOSE_PROJECT_NAME": PROJECT,
            "SITE_HOST": SITE,
        }

    def run(self, command: str, *, check: bool = True) -> str:
        print(f"# {command}", flush=True)
        began = time.monotonic()
        told = subprocess.run(
            command, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
        assert not check or not told.returncode, f"{command}\n{told.stdout[-3000:]}\n{told.stderr[-6000:]}"
        return told.stdout

    def run_page(self, block: str) -> None:
        """Run the documented commands of a block."""
        for command in commands_of(block):
            self.run(command)

    def containers(self) -> dict[str, str]:
        """Return container id and image by service."""
        ids = self.run(f"docker compose ps --quiet caddy {' '.join(SERVICES)} postgres-raw postgres-aggregate").split()
        told = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True).stdout
        return {
            one["Config"]["Labels"]["com.docker.compose.service"]: f"{one['Id']} of {one['Image']}" for one in json.loads(told)
        }

    def wait_until_healthy(self) -> None:
        def healthy() -> bool:
            told = self.run("docker compose ps --all --format json")
            states = {one["Service"]: one for one in map(json.loads, told.splitlines())}
            return states["migrate"]["State"] == "exited" and all(
                one["Health"] == "healthy" for name, one in states.items() if name != "migrate"
            )

        wait_until(healthy, lambda: self.run("docker compose ps --all; docker compose logs --tail 20"), seconds=240)

    def client(self) -> httpx.Client:
        """Return a client that trusts Caddy's root certificate."""
        root = self.folder / "root.crt"
        if not root.exists():
            self.run("docker compose cp caddy:/data/caddy/pki/authorities/local/root.crt root.crt")
        return httpx.Client(verify=ssl.create_default_context(cafile=str(root)), timeout=30)

    def ask(self, client: httpx.Client, method: str, host: str, path: str, **options: Any) -> httpx.Response:
        return client.request(
            method,
            f"https://127.0.0.1:{self.port}{path}",
            headers={"host": host},
            extensions={"sni_hostname": host},
            **options,
        )

    def send(self, client: httpx.Client, level: Level, person: int, **changes: Any) -> httpx.Response:
        batch = batch_json(level, week=week_of(datetime.now(UTC)), identifier=identifier(person), **changes)
        return self.ask(client, "POST", f"{level}.{SITE}", f"/api/updates/{level}", json=batch)


def identifier(person: int) -> str:
    return hashlib.sha256(str(person).encode()).hexdigest()[:32]


def commands_of(block: str) -> list[str]:
    """Return the commands of the block of docs/operations.md that contains ``block``."""
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    blocks = [part.split("```")[0] for part in page.split("```console\n")[1:]]
    (found,) = [part for part in blocks if block in part]
    commands = [line.strip().removeprefix("# ") for line in found.splitlines() if line.strip()]
    commands = [command.removeprefix("git pull && ") for command in commands]
    return [command for command in commands if not command.startswith(HOST_SETUP_PREFIX)]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    if reason := missing_requirement():
        pytest.skip(reason)
    made = Deployment(tmp_path_factory.mktemp("deployment"))
    print(f"base images made here: {build_missing()}", flush=True)
    made.run("docker compose down --volumes --remove-orphans")
    try:
        made.run_page("# docker compose exec scheduler python -m aggregation status")
        made.wait_until_healthy()
        yield made
    finally:
        made.run("docker compose down --volumes --remove-orphans", check=False)


def test_second_compose_up_changes_nothing(deployment: Deployment) -> None:
    before = deployment.containers()
    assert set(before) == {"caddy", *SERVICES, "postgres-raw", "postgres-aggregate"}
    deployment.run("docker compose up -d")
    assert deployment.containers() == before


def test_service_answers_checks_and_accepts_each_level_on_its_own_host(deployment: Deployment) -> None:
    with deployment.client() as client:
        table = deployment.ask(client, "GET", SITE, "/api/updates/pypi.json")
        assert "affinder" in table.json()["packages"]
        assert deployment.ask(client, "POST", SITE, "/api/updates/basic", json={}).status_code == 421
        for person, level in enumerate(TELEMETRY_LEVELS):
            taken = deployment.send(client, level, person)
            assert taken.json()["receipt"]["stored"], taken.text
            own = {"identifier": identifier(person)}
            (found,) = deployment.ask(client, "POST", f"{level}.{SITE}", "/api/reports/find", json=own).json()["reports"]
            assert ("plugins" in found["report"]) == (level is not Level.BASIC)
            deleted = deployment.ask(client, "POST", f"{level}.{SITE}", "/api/reports/delete", json=own)
            assert deleted.json() == {"deleted": 1}


def test_networks_isolate_the_raw_store(deployment: Deployment) -> None:
    reaches = "docker compose exec -T {} getent hosts {}"
    assert deployment.run(reaches.format("server-1", "postgres-raw"))
    assert deployment.run(reaches.format("scheduler", "postgres-raw"))
    for service, other in (("caddy", "postgres-raw"), ("caddy", "postgres-aggregate"), ("postgres-aggregate", "postgres-raw")):
        assert not deployment.run(reaches.format(service, other), check=False)
    listening = subprocess.run(["docker", "ps", "--format", "{{.Ports}}"], capture_output=True, text=True, check=True).stdout
    published = [part for part in listening.replace("\n", ", ").split(", ") if "->" in part]
    assert published
    assert all(part.startswith("127.0.0.1:") for part in published)


@contextlib.contextmanager
def traffic(deployment: Deployment) -> Iterator[dict[str, list[Any]]]:
    """Send checks and reports in the background; yield status codes and errors by method."""
    outcomes: dict[str, list[Any]] = {"GET": [], "POST": []}
    over = threading.Event()

    def go_on(kind: str, rate: int, ask: Callable[[httpx.Client, int], httpx.Response]) -> None:
        with deployment.client() as client:
            number = 0
            while not over.wait(1 / rate):
                number += 1
                try:
                    outcomes[kind].append(ask(client, number).status_code)
                except httpx.HTTPError as error:
                    outcomes[kind].append(repr(error))

    threads = [
        threading.Thread(
            target=go_on,
            args=("GET", GETS_PER_SECOND, lambda client, _: deployment.ask(client, "GET", SITE, "/api/updates/pypi.json")),
        ),
        threading.Thread(
            target=go_on,
            args=("POST", POSTS_PER_SECOND, lambda client, number: deployment.send(client, Level.MIDDLE, 1000 + number)),
        ),
    ]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_documented_upgrade_loses_no_request(deployment: Deployment) -> None:
    before = deployment.containers()
    with (deployment.folder / "update_server" / "__init__.py").open("a") as file:
        file.write("\n# another version\n")
    with traffic(deployment) as outcomes:
        deployment.run_page("docker compose up -d --wait server-2")
    deployment.wait_until_healthy()
    print({kind: len(codes) for kind, codes in outcomes.items()})
    assert set(outcomes["GET"]) == {200}
    assert set(outcomes["POST"]) == {200}
    after = deployment.containers()
    assert {service for service in before if before[service] != after[service]} == set(SERVICES)
    told = deployment.run(
        "docker compose exec -T postgres-raw psql -h 127.0.0.1 -U postgres raw -Atc 'SELECT count(*) FROM reports'"
    )
    assert int(told) == len(outcomes["POST"]), "every acknowledged report is stored"


async def load(deployment: Deployment, seconds: float) -> Counter[str]:
    """Send checks and reports at the average load; return counts by outcome."""
    context = ssl.create_default_context(cafile=str(deployment.folder / "root.crt"))
    outcomes: Counter[str] = Counter()
    ends = time.monotonic() + seconds

    async def go_on(client: httpx.AsyncClient, kind: str, rate: float) -> None:
        due = time.monotonic()
        while (now := time.monotonic()) < ends:
            await asyncio.sleep(due - now)
            due += 1 / rate
            person = next(PEOPLE)
            host = SITE if kind == "GET" else f"middle.{SITE}"
            path = "/api/updates/pypi.json" if kind == "GET" else "/api/updates/middle"
            batch = batch_json(Level.MIDDLE, week=week_of(datetime.now(UTC)), identifier=identifier(person))
            options: dict[str, Any] = {"headers": {"host": host}, "extensions": {"sni_hostname": host}}
            if kind == "POST":
                options["json"] = batch
            began = time.monotonic()
            try:
                answer = await client.request(kind, f"https://127.0.0.1:{deployment.port}{path}", **options)
                outcomes[f"{kind} {answer.status_code}"] += 1
            except httpx.HTTPError as error:
                outcomes[f"{kind} {type(error).__name__}"] += 1
            outcomes[f"{kind} slower than a second"] += time.monotonic() - began > 1

    async with httpx.AsyncClient(verify=context, timeout=30, limits=httpx.Limits(max_connections=64)) as client:
        await asyncio.gather(
            *(go_on(client, "GET", CHECKS_PER_SECOND / 32) for _ in range(32)),
            *(go_on(client, "POST", REPORTS_PER_SECOND / 16) for _ in range(16)),
        )
    return +outcomes


def memory(deployment: Deployment) -> dict[str, float]:
    """Return the memory of each container in megabytes."""
    told = deployment.run("docker stats --no-stream --format '{{.Name}} {{.MemUsage}}'")
    sizes = {}
    for name, used, *_ in map(str.split, told.splitlines()):
        amount, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]+)", used).groups()  # type: ignore[union-attr]
        sizes[name] = float(amount) * {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[unit]
    return sizes


def test_service_handles_the_load_of_ten_million_environments(deployment: Deployment) -> None:
    """Run without rate limits, because all requests come from one address. TEST_CONTAINERS_LOAD_S: seconds."""
    deployment.client().close()  # save Caddy's certificate
    limits = "    environment: { UPDATE_SERVER_REPORTS_PER_MINUTE: 0, UPDATE_SERVER_REPORTS_PER_DAY: 0 }\n"
    override = deployment.folder / "test.yaml"
    text = override.read_text()
    for name in ("server-1", "server-2"):
        text = text.replace(f"  {name}: *here\n", f"  {name}:\n    <<: *here\n{limits}")
    override.write_text(text)
    deployment.run("docker compose up -d --wait server-1 server-2")
    counted = "docker compose exec -T postgres-raw psql -h 127.0.0.1 -U postgres raw -Atc 'SELECT count(*) FROM reports'"
    before = int(deployment.run(counted))
    asyncio.run(load(deployment, 10))  # warm up
    first, seconds = memory(deployment), float(os.environ.get("TEST_CONTAINERS_LOAD_S", "30"))
    warm = int(deployment.run(counted))
    outcomes = asyncio.run(load(deployment, seconds))
    last = memory(deployment)
    print(
        f"{seconds:.0f} s: {dict(outcomes)}", {name: f"{first[name]:.0f} to {last[name]:.0f} MB" for name in first}, flush=True
    )
    assert {kind for kind in outcomes if "slower" not in kind} == {"GET 200", "POST 200"}
    assert warm > before
    assert int(deployment.run(counted)) - warm == outcomes["POST 200"]
    ours = [name for name in first if "server" in name or "caddy" in name]
    assert all(last[name] < 1.5 * first[name] + 50 for name in ours)


def test_backup_restores_numbers_and_keys(deployment: Deployment) -> None:
    admin = "docker compose exec -T scheduler python -m aggregation"
    deployment.run(f"{admin} keys create")
    count = (
        "docker compose exec -T postgres-aggregate psql -h 127.0.0.1 -U postgres aggregate -Atc 'SELECT count(*) FROM job_runs'"
    )
    before = int(deployment.run(count))
    assert before > 0
    deployment.run_page("> aggregate.dump\n# docker compose cp scheduler")
    deployment.run("docker compose down --volumes")
    for command in commands_of("docker compose up -d --wait postgres-aggregate\n"):
        told = deployment.run(command.replace("compose exec scheduler", "compose exec -T scheduler"))
    assert "here" in told
    assert "can't be read" not in told
    deployment.wait_until_healthy()
    assert int(deployment.run(count)) >= before
