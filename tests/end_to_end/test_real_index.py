"""The service on a recording of the real plugin index, which NAPARI_INDEX_REPLAY serves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import pytest

from aggregation.clock import Clock
from tests.support.processes import Server, end, reserved_port, run, running_server
from tests.support.waiting import wait_until
from update_server.index import snapshot
from update_server.index.conda import PYTHON_DEPS, name_of
from update_server.index.model import CondaPackage, Package
from update_server.index.refresh import build
from update_server.index.snapshot import Index
from update_server.index.store import SEED
from update_server.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.real_index]

NEWEST_IS_INCOMPATIBLE = {"3.9": 219, "3.10": 63, "3.11": 16, "3.12": 8, "3.13": 20, "3.14": 31}
"""Projects, of 660, whose newest release pip could not install on 2026-08-22, by Python version."""


@contextlib.contextmanager
def replayed(*options: str) -> Iterator[str]:
    program = os.environ.get("NAPARI_INDEX_REPLAY")
    if not program:
        pytest.skip("needs a replay of the real plugin index: NAPARI_INDEX_REPLAY=path/to/serve_upstream.py")
    port = reserved_port()
    process = subprocess.Popen(
        [sys.executable, program, "--port", str(port), *options], stdout=subprocess.DEVNULL, start_new_session=True
    )

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/errors.json", timeout=5).status_code in (200, 503)
        except httpx.HTTPError:
            return False

    try:
        wait_until(answers, "the replay did not start", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process)


@pytest.fixture(scope="module")
def replay() -> Iterator[str]:
    with replayed() as url:
        yield url


@pytest.fixture(scope="module")
def server(replay: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("real")
    with running_server(folder / "data", UPDATE_SERVER_UPSTREAM=replay) as running:
        wait_until(
            lambda: running.get("/health/ready").json()["index"]["origin"] == "refresh", running.log.read_text(), seconds=180
        )
        yield running


@pytest.mark.parametrize(("python", "count"), NEWEST_IS_INCOMPATIBLE.items())
def test_count_of_incompatible_newest_releases_matches_pip(server: Server, python: str, count: int) -> None:
    packages: dict[str, Any] = server.get(f"/api/updates?python={python}").json()["packages"]
    assert packages.pop("napari-plugin-manager"), "part of napari, but not listed in the index"
    assert len(packages) == 660
    assert sum(1 for package in packages.values() if package.get("newest")) == count
    assert all(package["latest"] != package["newest"] for package in packages.values() if "newest" in package)


@pytest.mark.parametrize(
    "path",
    ["/api/plugins", "/api/extended_summary", "/api/conda", "/api/readers", "/classifiers.json", "/errors.json",
     "/api/pypi/affinder", "/api/manifest/napari-svg", "/api/conda/affinder"],
)  # fmt: skip
def test_responses_match_the_current_index(server: Server, replay: str, path: str) -> None:
    ours, theirs = server.get(path).json(), httpx.get(replay + path).json()
    assert ours == theirs
    assert list(ours) == list(theirs)


def test_responses_for_every_project_match_the_current_index(server: Server, replay: str) -> None:
    """Compare the pypi, manifest and conda responses of all known projects."""
    classifiers = httpx.get(f"{replay}/classifiers.json").json()
    names = {re.sub(r"[-_.]+", "-", name).lower() for state in classifiers.values() for name in state}
    names |= {item["normalized_name"] for item in httpx.get(f"{replay}/api/extended_summary").json()}

    def compared(name: str) -> int:
        count = 0
        for kind in ("pypi", "manifest", "conda"):
            theirs, ours = client.get(f"{replay}/api/{kind}/{name}"), client.get(f"{server.url}/api/{kind}/{name}")
            assert ours.status_code == theirs.status_code, (kind, name)
            if ours.status_code == 200:
                assert ours.content == theirs.content, (kind, name)
                count += 1
        return count

    with httpx.Client(headers={"accept-encoding": "identity"}) as client, ThreadPoolExecutor(4) as pool:
        assert len(names) == 735, "the recording has 11 more, which are in none of its lists"
        assert sum(pool.map(compared, sorted(names))) > 1700


def test_both_sources_give_the_same_index(replay: str) -> None:
    """Compare the indexes; every accepted difference is listed with its reason."""

    async def read(source: Literal["napari-index", "pypi"]) -> Index:
        return await build(Settings(upstream=replay, source=source), None, Clock(), lambda *_: None)

    ours, theirs = asyncio.run(read("pypi")), asyncio.run(read("napari-index"))
    mine, others = ours.facts.by_key(), theirs.facts.by_key()
    errors = json.loads(ours.documents["/errors.json"].text())
    no_wheel = {key for key in others if key not in mine}
    assert len(no_wheel) == 15
    assert {errors[key]["error"] for key in no_wheel} == {
        "its newest release has no wheel, and an sdist would have to be built"
    }
    missing_in_recording = set(mine) - set(others)
    active = set(json.loads(theirs.documents["/classifiers.json"].text())["active"])
    assert missing_in_recording == {
        "destripe-lsfm", "ebi-oct", "itasc", "napari-dask-ndmeasure", "napari-mesofield", "napari-segtree",
        "napari-tissue-cuboid-analysis", "napari-tomodl", "notochoordinates", "segmentree",
    }, "projects with the classifier that the recorded index omits"  # fmt: skip
    assert len(missing_in_recording & active) <= 1
    names = {*mine, *others, "npe2"}
    for key in set(mine) & set(others):
        assert without_unlisted_requirements(mine[key], names) == without_unlisted_requirements(others[key], names), key
    summaries, known = (
        {item["normalized_name"]: item for item in json.loads(index.documents["/api/extended_summary"].text())}
        for index in (ours, theirs)
    )
    differing = Counter(
        field for key in set(summaries) & set(known) for field in known[key] if known[key][field] != summaries[key][field]
    )
    assert differing.keys() <= {
        "license",  # the index folds the text like metadata, and omits it if there is a license expression
        "project_url",  # order; Homepage and Download may be missing
        "pypi_versions",  # the index omits some releases, such as yanked releases
        "conda_versions",  # order of upload
        "home_page", "summary", "author",  # the word UNKNOWN, blanks, empty instead of null
    }, differing  # fmt: skip
    assert differing["home_page"] + differing["summary"] + differing["author"] < 10


def without_unlisted_requirements(package: Package, names: set[str]) -> Package:
    """Remove conda requirements on packages that the index does not list."""
    if package.conda is None:
        return package
    kept = {*PYTHON_DEPS, *names}
    files = (
        msgspec.structs.replace(
            file,
            depends=tuple(text for text in file.depends if name_of(text).replace("_", "-") in kept or name_of(text) in kept),
        )
        for file in package.conda.files
    )
    return msgspec.structs.replace(package, conda=CondaPackage(package.conda.name, tuple(dict.fromkeys(files))))


@pytest.fixture
def old_environment(tmp_path: Path) -> dict[str, str]:
    """Return environment variables for an installation with old plugins."""
    for name, version in (("affinder", "0.4.0"), ("napari", "0.5.0"), ("napari-svg", "0.2.1")):
        info = tmp_path / "site-packages" / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "INSTALLER").write_text("pip\n")
    return {"NAPARI_UPDATE_STATE": str(tmp_path / "state"), "PYTHONPATH": str(tmp_path / "site-packages")}


def test_check_works_with_the_current_index_and_states_its_limits(replay: str, old_environment: dict[str, str]) -> None:
    """The current index (api.napari.org) has no /api/updates and accepts no telemetry."""
    here = {"NAPARI_UPDATE_SERVER": replay} | old_environment
    result = run("napari_update_hook", "check", "--json", **here)
    assert result.returncode == 10, result.stderr
    told = json.loads(result.stdout)
    rows = {row["name"]: row for row in told["packages"]}
    assert (rows["affinder"]["status"], rows["affinder"]["latest"]) == ("update", "0.5.0")
    assert "it may not work with your Python and napari" in rows["affinder"]["note"]
    assert rows["napari"]["latest"] == "0.8.0", "the newest, though Python 3.10 could not install it"
    assert "withdrawn or are vulnerable" in told["notice"]
    assert told["index_version"] is None
    asked = run("napari_telemetry", "consent", "set", "full", **here)
    assert asked.returncode == 2
    assert "accepts no reports" in asked.stderr


def test_seed_command_reproduces_the_shipped_seed(replay: str, tmp_path: Path) -> None:
    path = tmp_path / "seed.snapshot"
    made = run(
        "update_server", "index", "seed", "--upstream", replay, "--output", str(path), UPDATE_SERVER_NOW="2026-08-22T22:10:09Z"
    )
    assert made.returncode == 0, made.stderr
    assert "660 packages" in made.stdout
    fresh, shipped = snapshot.read(path), snapshot.read(SEED)
    assert fresh is not None
    assert shipped is not None
    assert fresh.facts.packages == shipped.facts.packages
