"""What a maintainer does with the public numbers: the command, the API and the badge, against the real service process."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support.facts import write_snapshot
from tests.support.processes import Server, invoke, run, running_server

NOW = "2026-11-18T12:00:00Z"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with ten weeks of made-up people."""
    folder = tmp_path_factory.mktemp("service")
    write_snapshot(folder)
    own = {"UPDATE_SERVER_DATA": str(folder), "UPDATE_SERVER_NOW": NOW, "UPDATE_SERVER_JOBS": "false"}
    made = invoke("update_server", "demo", "--weeks", "10", "--people", "200", **own)
    assert made.exit_code == 0, made.stdout + made.stderr
    with running_server(folder, **own) as server:
        yield server


def stats(service: Server, tmp_path: Path, *arguments: str) -> CompletedProcess[str]:
    state = {"NAPARI_UPDATE_STATE": str(tmp_path / "state"), "NAPARI_UPDATE_SERVER": service.url}
    return run("napari_telemetry", "stats", *arguments, **state)


def test_the_command_prints_what_the_api_says(service: Server, tmp_path: Path) -> None:
    told = service.get("/api/stats/plugins/affinder?by=python").json()
    assert told["rows"]
    as_json = stats(service, tmp_path, "Affinder", "--by", "python", "--json")
    assert (as_json.returncode, json.loads(as_json.stdout)["rows"]) == (0, told["rows"])
    as_csv = stats(service, tmp_path, "affinder", "--by", "python", "--csv")
    rows = [(row["week"], row["python"], int(row["people"])) for row in csv.DictReader(io.StringIO(as_csv.stdout))]
    assert rows == [(row["week"], row["values"]["python"], row["people"]) for row in told["rows"]]
    table = stats(service, tmp_path, "affinder", "--by", "python")
    assert told["question"] in table.stdout
    assert told["weeks"][-1] in table.stdout
    assert not (tmp_path / "state").exists(), "it leaves nothing behind"


def test_what_is_wrong_is_said_with_what_there_is(service: Server, tmp_path: Path) -> None:
    misspelled = stats(service, tmp_path, "afinder")
    assert misspelled.returncode == 1
    assert "Did you mean affinder?" in misspelled.stderr
    unknown = stats(service, tmp_path, "affinder", "--by", "colour")
    assert unknown.returncode == 1
    assert "by=python" in unknown.stderr
    nobody = run("napari_telemetry", "stats", "affinder", "--server", "http://127.0.0.1:9", NAPARI_UPDATE_STATE=str(tmp_path))
    assert nobody.returncode == 3
