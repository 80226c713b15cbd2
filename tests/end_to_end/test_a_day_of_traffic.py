"""Private data from a day of traffic, however it was sent, is in no file or table."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest
from napari_telemetry.wire import TELEMETRY_LEVELS, Level

from tests.support.batches import batch_json
from tests.support.processes import run, running_server
from tests.support.sample_upstream import FakeUpstream
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

NOW = "2026-11-18T12:00:00Z"
ADDRESSES = [f"203.0.113.{number}" for number in range(1, 30)] + ["2001:db8:77:1::42"]
AGENT = "napari/0.6.1 somebody-elses-laptop"
PRIVATE = ("my-secret-plugin", "my_secret_plugin", "SECRET-OS", "secret.command", "9.9.9rc1")


def identifier(person: int) -> str:
    return hashlib.sha256(str(person).encode()).hexdigest()[:32]


def batch(level: Level, person: int, **changes: Any) -> dict[str, Any]:
    private: dict[str, Any] = {"identifier": identifier(person), "environment": f"{person:08x}", "sys_name": "SECRET-OS"}
    if level is not Level.BASIC:
        private["plugins"] = [{"name": "affinder", "version": "0.5.0"}, {"name": "my-secret-plugin", "version": "9.9.9rc1"}]
    if level is Level.FULL:
        private["command_usage"] = {"secret.command": 10, "my_secret_plugin.run": 1}
    return batch_json(level, **(private | changes))


def send_a_day_of_requests(url: str) -> None:
    with httpx.Client(base_url=url, timeout=20) as client:
        for number, address in enumerate(ADDRESSES * 3, 1):
            headers = {"x-forwarded-for": address, "user-agent": AGENT, "referer": f"https://{PRIVATE[0]}.example/"}
            level = TELEMETRY_LEVELS[number % 3]
            path = f"/api/updates/{level}?python=3.11"
            client.get("/api/updates?python=3.11.4", headers=headers)
            assert client.post(path, json=batch(level, number), headers=headers).status_code == 200
            bad = batch(level, number, week="1999-W01") | {"my-secret-plugin": 1}
            assert client.post(path, json=bad, headers=headers).status_code == 422
            client.post(path, content=b'{"my-secret-plugin', headers=headers | {"content-type": "application/json"})
            client.get(f"/api/pypi/{PRIVATE[0]}?x={PRIVATE[1]}", headers=headers)
            client.get(f"/api/stats/plugins/{PRIVATE[0]}", headers=headers)
            found = client.post("/api/reports/find", json={"identifier": identifier(number)}, headers=headers)
            assert len(found.json()["reports"]) == 1
            if number % 4 == 0:
                gone = client.post("/api/reports/delete", json={"identifier": identifier(number)}, headers=headers)
                assert gone.json() == {"deleted": 1}


def content_of(path: Path) -> bytes:
    """Return a file's bytes, plus a database's tables as text."""
    content = path.read_bytes()
    if path.suffix == ".sqlite3":
        database = sqlite3.connect(path)
        content += "\n".join(database.iterdump()).encode()
        database.close()
    return content


@pytest.mark.promise("no-address-no-time")
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_private_data_is_not_written_and_only_raw_store_has_identifiers(tmp_path: Path, log_format: str) -> None:
    data = tmp_path / "data"
    settings = {
        "UPDATE_SERVER_NOW": NOW,
        "UPDATE_SERVER_ACCESS_LOG": "true",
        "UPDATE_SERVER_LOG_FORMAT": log_format,
        "UPDATE_SERVER_LOG_LEVEL": "debug",
        "UPDATE_SERVER_REPORTS_PER_DAY": "1000",
    }
    with FakeUpstream().served() as upstream, running_server(data, UPDATE_SERVER_UPSTREAM=upstream, **settings) as server:
        wait_until(lambda: server.get("/health/ready").json()["index"]["origin"] == "refresh", server.log.read_text)
        send_a_day_of_requests(server.url)
    published = run("aggregation", "run", "--now", "2026-12-08T00:00:00", UPDATE_SERVER_DATA=str(data))
    assert published.returncode == 0, published.stderr
    log = server.log.read_text()
    assert log.count("request") > 400, "there is a log to search"
    assert "/api/pypi/{name}" in log
    people = range(1, 3 * len(ADDRESSES) + 1)
    held = [identifier(person) for person in people if person % 4]
    deleted = [identifier(person) for person in people if not person % 4]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"2026-W47.sqlite3", "aggregate.sqlite3", "index.snapshot", server.log.name} <= {path.name for path in files}
    for path in files:
        content = content_of(path)
        for text in (*ADDRESSES, AGENT, "somebody-elses-laptop", *PRIVATE, *deleted):
            assert text.encode() not in content, f"{text} is in {path.name}"
        is_raw = path.parent.name == "raw"
        for text in held:
            assert is_raw or text.encode() not in content, f"an identifier is in {path.name}"
    assert all(text.encode() in content_of(data / "raw" / "2026-W47.sqlite3") for text in held)
