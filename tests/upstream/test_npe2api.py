"""The additions to npe2api, tested with a copy of its public data."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from napari_update_hook.table import UpdateTable, pick, read_table

from tests.support.real_index import real_index_folder

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "upstream" / "npe2api"
PYTHONS = [f"3.{minor}.{patch}" for minor in range(8, 20) for patch in (0, 1, 30)]


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of npe2api's public folder, with the update tables."""
    folder = tmp_path_factory.mktemp("npe2api") / "public"
    replay = os.environ.get("NAPARI_INDEX_REPLAY")
    archive = next(iter(Path(replay).parent.glob("npe2api-*.tar.xz")), None) if replay else None
    if archive is None:
        pytest.skip("needs npe2api's data: set NAPARI_INDEX_REPLAY to a serve_upstream.py with npe2api-*.tar.xz beside it")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    subprocess.run([sys.executable, FOLDER / "scripts" / "update_tables.py", folder], check=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def ours(public: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_index_folder(tmp_path_factory)


def table(path: Path) -> UpdateTable:
    return read_table(path.read_bytes())


@pytest.mark.parametrize("channel", ["pypi", "conda-forge"])
def test_tables_pick_the_same_releases_as_our_index(public: Path, ours: Path, channel: str) -> None:
    theirs, mine = table(public / "updates" / f"{channel}.json"), table(ours / "api" / "updates" / f"{channel}.json")
    assert set(mine.packages) - set(theirs.packages) <= {"napari-plugin-manager"}, "a part of napari that it does not list"
    assert set(theirs.packages) <= set(mine.packages)
    naparis = [row.version for row in table(ours / "api" / "updates" / "pypi.json").packages["napari"].releases]
    for name, package in theirs.packages.items():
        other = mine.packages[name]
        assert (package.yanked, package.conda_name) == (other.yanked, other.conda_name), name
        for python in PYTHONS:
            for napari in (None, *naparis[::4]):
                picked, expected = pick(package.releases, python, napari), pick(other.releases, python, napari)
                assert (picked and picked.version) == (expected and expected.version), (name, python, napari)


def test_a_second_run_changes_nothing(public: Path) -> None:
    before = (public / "updates" / "pypi.json").read_bytes()
    subprocess.run([sys.executable, FOLDER / "scripts" / "update_tables.py", public], check=True, timeout=300)
    assert (public / "updates" / "pypi.json").read_bytes() == before


@pytest.fixture(scope="module")
def function(public: Path) -> Iterator[str]:
    spec = importlib.util.spec_from_file_location("fitting", FOLDER / "api" / "fitting.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.PUBLIC = public  # type: ignore[attr-defined]
    module.handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), module.handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/api/fitting"
    server.shutdown()
    server.server_close()


NAPARI = "napari/0.5.6 runtime/python CPython/3.11.4"


@pytest.mark.parametrize("kind", ["plugins", "extended_summary"])
def test_unmodified_napari_versions_get_compatible_releases(function: str, public: Path, ours: Path, kind: str) -> None:
    def ask(agent: str = "", **query: str) -> Any:
        return httpx.get(function, params={"list": kind} | query, headers={"user-agent": agent}, timeout=60)

    whole = json.loads((public / {"plugins": "index.json", "extended_summary": "extended_summary.json"}[kind]).read_bytes())
    assert ask().json() == whole
    cut = ask(NAPARI).json()
    assert cut == ask(python="3.11.4", napari="0.5.6").json()
    packages = table(ours / "api" / "updates" / "pypi.json").packages
    found = cut if kind == "plugins" else {item["name"]: item["version"] for item in cut}
    for name, version in found.items():
        picked = pick(packages[re.sub(r"[-_.]+", "-", name).lower()].releases, "3.11.4", "0.5.6")
        assert picked is not None
        assert picked.version == version, name
    assert 500 < len(found) < len(whole)
    assert ask(python="nonsense").status_code == 400
    assert httpx.get(function, params={"list": "../secrets"}).status_code == 404
