"""The unmodified napari-plugin-manager with this index. Needs TEST_NAPARI."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import running_server
from tests.support.sample_upstream import FakeUpstream
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

ASK = """
import json, sys
from napari_plugin_manager import npe2api
base, = sys.argv[1:]
npe2api.EXTENDED_SUMMARY_URL = f"{base}/api/extended_summary"
npe2api.CONDA_URL = f"{base}/api/conda"
summaries = npe2api.plugin_summaries()
plugins = [(meta.name, meta.version, on_conda, extra) for meta, on_conda, extra in npe2api.iter_napari_plugin_info()]
json.dump({"summaries": summaries, "conda": npe2api.conda_map(), "plugins": plugins}, sys.stdout)
"""


def test_plugin_manager_offers_only_compatible_plugins(napari_python: Path, tmp_path: Path) -> None:
    version = subprocess.run(
        [napari_python, "-c", "import sys; print(sys.version_info[1])"], capture_output=True, text=True, check=True
    )
    minor = int(version.stdout)
    with FakeUpstream().served() as upstream, running_server(tmp_path / "data", UPDATE_SERVER_UPSTREAM=upstream) as server:
        wait_until(lambda: server.get("/health/ready").json()["index"]["origin"] == "refresh", server.log.read_text)
        environment = os.environ | {"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path), "NAPARI_CONFIG": ""}
        answer = subprocess.run(
            [napari_python, "-W", "ignore", "-c", ASK, server.url], env=environment, capture_output=True, text=True, check=False
        )
        assert answer.returncode == 0, answer.stderr
        told = json.loads(answer.stdout)
        fits = server.get(f"/api/plugins?python=3.{minor}").json()
        conda = server.get("/api/conda").json()
    assert {item["name"]: item["version"] for item in told["summaries"]} == fits, "the User-Agent names the Python version"
    assert told["conda"] == conda
    plugins = {name: (version, on_conda, extra) for name, version, on_conda, extra in told["plugins"]}
    assert plugins["affinder"][0] == "0.5.0"
    assert plugins["affinder"][2]["pypi_versions"] == ["0.5.0", "0.5.0rc1", "0.4.0"]
    assert ("napari-harpy" in plugins) is (minor >= 12)
