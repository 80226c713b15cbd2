"""The setup of compose.yaml without containers, with the real programs, Caddyfile and role script."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from napari_telemetry.wire import TELEMETRY_LEVELS, Level

from tests.support.batches import batch_json
from tests.support.installation import LEVELS, ROOT, SITE, Installation, migration_env, running_installation
from tests.support.processes import clean_environment, end
from tests.support.sample_upstream import FakeUpstream
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.postgresql]

NOW = "2026-11-18T12:00:00Z"
HERE, THERE = "127.0.0.77", "127.0.0.78"
"""Addresses that only clients use."""


class _Dashboards(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"dashboards" + str(self.headers).encode())

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("machine")
    grafana = ThreadingHTTPServer(("127.0.0.1", 0), _Dashboards)
    threading.Thread(target=grafana.serve_forever, daemon=True).start()
    with (
        FakeUpstream().served() as upstream,
        running_installation(
            folder,
            upstream,
            UPDATE_SERVER_NOW=NOW,
            UPDATE_SERVER_QUESTIONS_PER_MINUTE="40",
            UPDATE_SERVER_REPORTS_PER_MINUTE="0",
            UPDATE_SERVER_REPORTS_PER_DAY="0",
            GRAFANA=f"127.0.0.1:{grafana.server_port}",
        ) as running,
    ):
        yield running
    grafana.shutdown()


def host_of(level: str) -> str:
    return f"{level}.{SITE}"


def test_the_site_serves_pages_index_and_update_check(installation: Installation) -> None:
    site = installation.client()
    for path in ("/", "/dashboard", "/privacy", "/api/plugins", "/extended_summary.json", "/api/stats/napari", "/health/live"):
        answer = site.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert site.get("/api/updates?python=3.12").json()["python"] == "3.12"
    assert site.get("/api/updates/pypi.json").json()["channel"] == "pypi"
    assert site.post("/api/updates/pypi.json", {}).status_code == 421


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br"])
def test_the_proxy_does_not_change_prepared_bodies(installation: Installation, encoding: str) -> None:
    (port, *_) = installation.servers
    asked = {"accept-encoding": encoding}
    path = "/api/updates/pypi.json"
    direct = httpx.get(f"http://127.0.0.1:{port}{path}", headers=asked)
    proxied = installation.client().get(path, headers=asked)
    for name in ("etag", "content-encoding", "content-length", "vary", "cache-control", "content-type"):
        assert proxied.headers.get(name) == direct.headers.get(name), name
    assert proxied.content == direct.content
    again = installation.client().get(path, headers=asked | {"if-none-match": direct.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_without_accept_encoding_the_body_is_not_compressed(installation: Installation) -> None:
    """A proxy that compresses by itself would change the ETag."""
    answer = installation.client().get("/api/updates/pypi.json", headers={"accept-encoding": ""})
    assert "content-encoding" not in answer.headers
    assert not answer.headers["etag"].strip('"').endswith("-gzip")


CLIENT_SITECUSTOMIZE = f"""
import os
import socket
from datetime import datetime, timedelta

resolve = socket.getaddrinfo


def on_this_machine(host, *arguments, **options):
    return resolve("127.0.0.1" if str(host).endswith("{SITE}") else host, *arguments, **options)


socket.getaddrinfo = on_this_machine  # not every system resolves names below localhost
from napari_update_hook import settings

server, here = datetime.fromisoformat("{NOW.replace("Z", "+00:00")}"), settings.system_now
offset = server - here() + timedelta(hours=int(os.environ["HOURS_LATER"]))
settings.system_now = lambda: here() + offset
"""


def test_the_client_sends_each_level_to_its_own_host(installation: Installation, tmp_path: Path) -> None:
    """The hosts come from the administrator's site.json."""
    (tmp_path / "computer").mkdir()
    (tmp_path / "computer" / "sitecustomize.py").write_text(CLIENT_SITECUSTOMIZE, "utf-8")
    site = tmp_path / "site" / "napari-update-hook" / "site.json"
    site.parent.mkdir(parents=True)
    levels = {level: f"https://{host_of(level)}:{installation.https}" for level in LEVELS}
    site.write_text(json.dumps({"server": f"https://{SITE}:{installation.https}", "level_servers": levels}), "utf-8")
    environment = clean_environment(
        PYTHONPATH=os.pathsep.join(
            (
                str(tmp_path / "computer"),
                str(ROOT / "client_hook" / "napari-update-hook" / "src"),
                str(ROOT / "client_hook" / "napari-telemetry" / "src"),
                str(ROOT),
            )
        ),
        XDG_CONFIG_DIRS=str(tmp_path / "site"),
        SSL_CERT_FILE=str(installation.root_certificate),
        NAPARI_UPDATE_STATE=str(tmp_path / "state"),
    )

    def client(*arguments: str, program: str = "napari_telemetry", succeeds_with: int | None = 0) -> Any:
        command = [sys.executable, "-m", program, *arguments, "--json"]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert succeeds_with is None or told.returncode == succeeds_with, told.stderr + told.stdout
        return json.loads(told.stdout)

    for hours_later, level in zip(("0", "36", "72"), LEVELS, strict=True):  # at most one report a day, all in one week
        environment["HOURS_LATER"] = hours_later
        client("consent", "set", level)
        seen_before = len(lines_of(installation.logs["caddy"]))
        checked = client("check", program="napari_update_hook", succeeds_with=None)
        assert checked["index_version"], checked
        assert json.loads(client("sent")[-1]["receipt"])["stored"]
        hosts = {
            line["request"]["host"].split(":")[0]  # type: ignore[index]
            for line in lines_of(installation.logs["caddy"])[seen_before:]
            if "request" in line
        }
        assert hosts <= {SITE, host_of(level)}, "reports go only to the host of their level"
        assert host_of(level) in hosts
        copy = {one["asked"]["server"]: one["reports"] for one in client("server-copy")}[levels[level]]
        assert [report["level"] for report in copy] == [level], "found where it was sent"
    receipt = json.loads(client("sent")[-1]["receipt"])
    assert receipt["revision"] == len(LEVELS), "one week, each report replaces the previous"
    client("forget", "--yes")
    assert client("server-copy") == []
    assert found_by(installation, copy[0]["report"]["identifier"]) == []


def found_by(installation: Installation, identifier: str) -> Any:
    return installation.client(host_of("full")).post("/api/reports/find", {"identifier": identifier}).json()["reports"]


def every_path(installation: Installation) -> list[str]:
    described = installation.client().get("/api/openapi.json")
    assert described.status_code == 200
    templates = [path.replace("{level}", level) for path in described.json()["paths"] for level in LEVELS]
    paths = [re.sub(r"{[^}]*}", "napari", path) for path in dict.fromkeys(templates)]
    return [*paths, "/", "/dashboard", "/plugins", "/privacy", "/verify", "/metrics", "/static/style.css", "/api"]


@pytest.mark.parametrize("level", LEVELS)
def test_the_host_of_a_level_serves_nothing_else(installation: Installation, level: str) -> None:
    own = {f"/api/updates/{level}", f"/api/telemetry/allowed/{level}", "/api/reports/find", "/api/reports/delete"}
    paths = every_path(installation)
    assert own <= set(paths)
    others = {f"/api/{kind}/{one}" for one in LEVELS if one != level for kind in ("updates", "telemetry/allowed")}
    tricks = {f"/api/updates/{level}/../middle", f"/api/updates//{level}x", f"/x/api/updates/{level}", f"/api/updates/{level}/"}
    tricks -= {"/api/updates/middle/../middle"}  # its own path
    for path in sorted((set(paths) | others | tricks) - own):
        for method in ("GET", "POST"):
            answer = installation.client(host_of(level)).request(method, path, json={} if method == "POST" else None)
            assert answer.status_code == 404, (method, path, answer.text)
    problem = installation.client(host_of(level)).get("/")
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["status"] == 404


def test_a_blocked_level_cannot_be_bypassed(installation: Installation) -> None:
    for level in TELEMETRY_LEVELS:
        answer = installation.client().post(f"/api/updates/{level}?python=3.12", batch_json(level))
        assert answer.status_code == 421
        assert "has its own host" in answer.json()["detail"], "clients show it to their users"
        assert installation.client().get(f"/api/telemetry/allowed/{level}").status_code == 421
    for path in ("/api/updates/full/", "//api/updates/full", "/api//updates/full", "/api/updates%2ffull", "/API/updates/full",
                 "/api/./updates/full", "/x/../api/updates/full", "/api/updates/full;x", "/api%2fupdates%2ffull"):  # fmt: skip
        answer = installation.client().post(f"{path}?python=3.12", batch_json(Level.FULL))
        assert answer.status_code in (404, 405, 421), (path, answer.status_code)
        direct = httpx.post(
            f"http://127.0.0.1:{next(iter(installation.servers))}{path}?python=3.12", json=batch_json(Level.FULL)
        )
        assert direct.status_code in (404, 405, 421), "the service itself refuses it on another host"
    for verb in ("find", "delete"):
        assert installation.client().post(f"/api/reports/{verb}", {"identifier": "0" * 32}).status_code == 421
    hosts = {level["name"]: level["host"] for level in installation.client().get("/api/telemetry/levels").json()["levels"]}
    assert hosts == {level: host_of(level) for level in LEVELS}


def test_other_hosts_are_not_served(installation: Installation) -> None:
    with pytest.raises((httpx.ConnectError, ssl.SSLError)):
        installation.client("somewhere.else.localhost").get("/")


def test_dashboards_have_a_host_that_hides_client_addresses(installation: Installation) -> None:
    told = installation.client(f"dashboards.{SITE}", HERE).get("/").text
    assert told.startswith("dashboards")
    assert HERE not in told, "Grafana would log it"


def test_one_address_cannot_use_up_the_limit_of_another(installation: Installation) -> None:
    full, body = host_of("full"), {"identifier": "e" * 32}
    statuses = [installation.client(full, "127.0.0.79").post("/api/reports/find", body).status_code for _ in range(100)]
    assert {200, 429} == set(statuses), "each of two web processes accepts 40 a minute"
    forged = {"x-forwarded-for": THERE}
    assert 429 in [
        installation.client(full, "127.0.0.79").post("/api/reports/find", body, headers=forged).status_code for _ in range(8)
    ]
    assert installation.client(full, THERE).post("/api/reports/find", body).status_code == 200


def test_a_stopped_web_process_loses_no_request(installation: Installation) -> None:
    port = next(iter(installation.servers))
    end(installation.servers[port])
    try:
        assert {installation.client().get("/api/updates?python=3.11").status_code for _ in range(30)} == {200}
        wait_until(  # Caddy does not retry a request with a body, so wait for its health check
            lambda: {sent_report(installation).status_code for _ in range(10)} == {200},
            "reports still reach the stopped process",
            seconds=30,
        )
    finally:
        installation.start_server(port)


def sent_report(installation: Installation) -> httpx.Response:
    return installation.client(host_of("basic")).post("/api/updates/basic?python=3.11", batch_json(Level.BASIC))


def test_a_migration_does_not_interrupt_requests(installation: Installation) -> None:
    migrated = installation.run("migrate-again", ["update_server", "db", "migrate"], migration_env(installation))
    statuses = []
    while migrated.poll() is None:
        statuses.append(sent_report(installation).status_code)
    assert migrated.returncode == 0, installation.logs["migrate-again"].read_text()
    assert set(statuses) == {200}


DENIED = {
    ("raw", "web"): [
        "SELECT * FROM reports", "SELECT count(*) FROM reports", "INSERT INTO reports SELECT * FROM reports",
        "DELETE FROM reports", "TRUNCATE reports", "DROP TABLE reports", "CREATE TABLE mine (x int)",
        "SELECT delete_reports_before('2099-W01')", "SELECT weeks_of_reports()", "CREATE ROLE mine",
        "COPY (SELECT 1) TO PROGRAM 'true'", "SELECT pg_read_file('/etc/passwd')",
    ],
    ("raw", "scheduler"): [
        "DELETE FROM reports", "DROP TABLE reports", "CREATE TABLE mine (x int)",
        "SELECT put_reports('2026-W40', '{}', '{}', '{}', '{}', '{}', '{}')",
        "CREATE ROLE mine",
    ],
    ("raw", "owner"): ["CREATE ROLE mine", "SELECT pg_read_file('/etc/passwd')", "CREATE DATABASE mine"],
    ("aggregate", "web"): [
        "INSERT INTO published_weeks VALUES ('2026-W01', now())", "UPDATE cells SET people = 10", "DELETE FROM cells",
        "DROP TABLE cells", "CREATE TABLE mine (x int)",
    ],
    ("aggregate", "scheduler"): [
        "DELETE FROM inspections", "UPDATE retractions SET reason = ''", "DROP TABLE cells", "CREATE TABLE mine (x int)",
        "DELETE FROM alembic_version_aggregate", "CREATE ROLE mine",
    ],
    ("aggregate", "grafana"): [
        "SELECT * FROM aggregation_runs", "SELECT * FROM published_weeks", "SELECT * FROM job_runs",
        "UPDATE cells SET people = 10", "DELETE FROM retractions", "CREATE TABLE mine (x int)",
        "CREATE TEMP TABLE mine (x int)", "SELECT pg_advisory_lock(1)", "SELECT pg_try_advisory_lock(1, 2)",
        "SELECT lo_from_bytea(0, 'mine')", "SELECT pg_sleep(1)",
    ],
}  # fmt: skip


Ended = subprocess.CompletedProcess[str]


def asked(installation: Installation, store: str, role: str, statement: str, password: str | None = None) -> Ended:
    cluster = installation.raw if store == "raw" else installation.aggregate
    return subprocess.run(
        [
            "psql",
            "-At",
            "-h",
            "127.0.0.1",
            "-p",
            str(cluster.port),
            "-U",
            role,
            store,
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statement,
        ],
        env=os.environ | {"PGPASSWORD": installation.secrets.password(role) if password is None else password},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("store", "role"), DENIED)
def test_roles_are_denied_what_they_do_not_need(installation: Installation, store: str, role: str) -> None:
    for statement in DENIED[store, role]:
        told = asked(installation, store, role, statement)
        assert told.returncode != 0, statement
        assert re.search("permission denied|must be (owner|superuser)|read-only transaction", told.stderr), (
            statement,
            told.stderr,
        )


def test_grafana_users_cannot_lift_their_restrictions(installation: Installation) -> None:
    for statement in DENIED["aggregate", "grafana"]:
        told = asked(installation, "aggregate", "grafana", f"SET TRANSACTION READ WRITE; {statement}")
        assert "permission denied" in told.stderr, (statement, told.stderr)


def test_roles_can_do_their_work(installation: Installation) -> None:
    for store, role, statement in (
        ("raw", "scheduler", "SELECT count(*) FROM reports"),
        ("raw", "web", "SELECT * FROM find_reports('x')"),
        ("aggregate", "grafana", "SELECT count(*) FROM cells"),
        ("aggregate", "web", "SELECT count(*) FROM cells"),
    ):
        told = asked(installation, store, role, statement)
        assert told.returncode == 0, told.stderr


def test_roles_need_passwords_and_grafana_has_no_raw_role(installation: Installation) -> None:
    assert "authentication failed" in asked(installation, "raw", "grafana", "SELECT 1").stderr
    for role in ("owner", "web", "scheduler"):
        for store in ("raw", "aggregate"):
            assert "authentication failed" in asked(installation, store, role, "SELECT 1", password="wrong").stderr
    told = subprocess.run(
        ["psql", "-At", "-h", "127.0.0.1", "-p", str(installation.raw.port), "-U", "web", "raw", "-c",
         "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls FROM pg_roles"
         " WHERE rolname IN ('owner', 'web', 'scheduler')"],
        env=os.environ | {"PGPASSWORD": installation.secrets.password("web")}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(told.stdout.split()) == {"f"}


def lines_of(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text("utf-8").splitlines() if line.startswith("{")]


@pytest.mark.promise("no-address-in-logs")
def test_no_log_contains_a_client_address(installation: Installation) -> None:
    """Failed requests are included: truncated, rejected and unanswered."""
    marked = "a10c0ffee0" + "0" * 22
    installation.client(address=HERE).get("/api/updates?python=3.11&secret=marked-in-query")
    installation.client(host_of("full"), HERE).post("/api/reports/find", {"identifier": marked})
    installation.client(host_of("full"), HERE).get("/nothing-here")
    begun = "POST /api/updates/full HTTP/1.1\r\nHost: full.updates.localhost\r\nContent-Type: application/json\r\n"
    for end_of_it in (f"{begun}Content-Length: 4000\r\n\r\nbegun", "no http at all\r\n\r\n"):
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", installation.https), 10, source_address=(HERE, 0)) as plain,
            trust.wrap_socket(plain, server_hostname=host_of("full")) as cut_off,
        ):
            cut_off.sendall(end_of_it.encode())
    with socket.create_connection(("127.0.0.1", installation.https), 10, source_address=(HERE, 0)) as no_tls:
        no_tls.sendall(b"hello\r\n")
    ports = list(installation.servers)
    for port in ports:
        end(installation.servers[port])
    assert installation.client(address=HERE).get("/api/plugins").status_code in (502, 503)
    for port in ports:
        installation.start_server(port)

    told = lines_of(installation.logs["caddy"])
    requests = [line for line in told if str(line.get("logger", "")).startswith("http.log.access")]
    paths = [line["request"]["uri"] for line in requests]  # type: ignore[index]
    assert "/api/updates" in paths, "requests are logged without their query"
    assert "/api/reports/find" in paths
    assert {502, 503} & {line["status"] for line in requests}
    known = {"level", "ts", "logger", "msg", "request", "duration", "size", "status"}
    assert {key for line in requests for key in line} <= known
    fields = {key for line in requests for key in line["request"]}  # type: ignore[attr-defined]
    assert fields <= {"proto", "method", "host", "uri"}
    logs = {**installation.logs, "raw": installation.raw.folder / "log", "aggregate": installation.aggregate.folder / "log"}
    for name, log in logs.items():
        text = log.read_text("utf-8", "replace")
        for private in (HERE, THERE, "127.0.0.79", "marked-in-query", marked, "python-httpx"):
            assert private not in text, f"the log of {name} contains {private}"
