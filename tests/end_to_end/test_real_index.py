"""The service on a replay of the real plugin index.

The replay is a program that serves a recorded index on loopback; NAPARI_INDEX_REPLAY names it. CI has it; elsewhere these tests
are skipped, and the made-up index of the other tests stands for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import Server, end, free_port, run, running_server, wait_until

pytestmark = [pytest.mark.end_to_end, pytest.mark.real_index]

NEWEST_DOES_NOT_FIT = {"3.9": 219, "3.10": 63, "3.11": 16, "3.12": 8, "3.13": 20, "3.14": 31}
"""Of 660 listed projects on 2026-08-22, counted with pip: how many have a newest version that this Python cannot install."""


@pytest.fixture(scope="module")
def replay() -> Iterator[str]:
    """The base URL of the replay."""
    program = os.environ.get("NAPARI_INDEX_REPLAY")
    if not program:
        pytest.skip("needs a replay of the real plugin index: NAPARI_INDEX_REPLAY=path/to/serve_upstream.py")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, program, "--port", str(port)], stdout=subprocess.DEVNULL, start_new_session=True
    )

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/errors.json", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, "the replay did not start", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process)


@pytest.fixture(scope="module")
def server(replay: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that has read the replay whole."""
    folder = tmp_path_factory.mktemp("real")
    with running_server(folder / "data", UPDATE_SERVER_UPSTREAM=replay) as running:
        wait_until(
            lambda: running.get("/health/ready").json()["index"]["origin"] == "refresh", running.log.read_text(), seconds=180
        )
        yield running


def test_all_listed_projects_are_there(server: Server) -> None:
    ready = server.get("/health/ready").json()
    assert (ready["status"], ready["index"]["packages"], ready["index"]["stale"]) == ("ok", 660, {})


@pytest.mark.parametrize(("python", "count"), NEWEST_DOES_NOT_FIT.items())
def test_for_as_many_projects_as_pip_says_the_newest_does_not_fit(server: Server, python: str, count: int) -> None:
    packages: dict[str, Any] = server.get(f"/api/updates?python={python}").json()["packages"]
    assert len(packages) == 660
    assert sum(1 for package in packages.values() if package.get("newest")) == count
    assert all(package["latest"] != package["newest"] for package in packages.values() if "newest" in package)


@pytest.mark.parametrize(
    "path",
    ["/api/plugins", "/api/extended_summary", "/api/conda", "/api/readers", "/classifiers.json", "/errors.json",
     "/api/pypi/affinder", "/api/manifest/napari-svg", "/api/conda/affinder"],
)  # fmt: skip
def test_the_index_answers_like_todays(server: Server, replay: str, path: str) -> None:
    ours, theirs = server.get(path).json(), httpx.get(replay + path).json()
    assert ours == theirs
    assert list(ours) == list(theirs)


def test_the_body_of_a_class_is_small_enough(server: Server) -> None:
    def size() -> int:
        with httpx.stream("GET", f"{server.url}/api/updates?python=3.11", headers={"accept-encoding": "br"}) as response:
            is_ready = response.headers.get("content-encoding") == "br"
            return len(b"".join(response.iter_raw())) if is_ready else 10**9

    wait_until(lambda: size() < 10**9, "the encodings were not made")
    assert size() <= 6000


def test_a_real_environment_is_checked_against_it(server: Server, tmp_path: Path) -> None:
    """`napari-updates check` where an old plugin is installed, as a distribution on the path."""
    for name, version in (("affinder", "0.4.0"), ("napari", "0.5.0"), ("napari-svg", "0.2.1")):
        info = tmp_path / "site" / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    here = {
        "NAPARI_UPDATE_SERVER": server.url,
        "NAPARI_UPDATE_STATE": str(tmp_path / "state"),
        "PYTHONPATH": str(tmp_path / "site"),
    }
    result = run("napari_update_hook.cli", "check", "--json", **here)
    assert result.returncode == 10, result.stderr
    rows = {row["name"]: row for row in json.loads(result.stdout)["packages"]}
    assert rows["affinder"]["status"] == "update"
    assert rows["affinder"]["latest"] == "0.5.0"
    assert rows["napari-svg"]["status"] == "up to date"
    assert rows["napari"]["latest"] is not None


def test_started_again_it_serves_its_own_snapshot(server: Server) -> None:
    before = server.get("/api/updates?python=3.10").content
    data = server.log.parent / "data"
    with running_server(data, UPDATE_SERVER_UPSTREAM="http://127.0.0.1:9") as again:
        assert again.get("/health/ready").json()["index"]["origin"] == "snapshot"
        assert again.get("/api/updates?python=3.10").content == before
        assert len(again.get("/api/extended_summary").json()) == 660


def test_a_seed_is_made_of_it_by_the_command(replay: str, tmp_path: Path) -> None:
    from update_server.index import seed

    path = tmp_path / "seed.json.xz"
    made = run(
        "update_server", "index", "seed", "--upstream", replay, "--output", str(path), UPDATE_SERVER_NOW="2026-08-22T22:10:09Z"
    )
    assert made.returncode == 0, made.stderr
    assert "660 packages" in made.stdout
    fresh, shipped = seed.read(path).facts, seed.read(seed.shipped()).facts
    assert fresh.packages == shipped.packages
