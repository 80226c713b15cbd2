"""Fixture: an environment with a real napari, created once per test session if TEST_NAPARI is set."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "client_hook"
PACKAGES = [str(CLIENT / "napari-update-hook"), str(CLIENT / "napari-telemetry")]


@pytest.fixture(scope="session")
def napari_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python interpreter with napari, its plugin manager and the client."""
    if not os.environ.get("TEST_NAPARI"):
        pytest.skip("needs napari (900 MB): set TEST_NAPARI=1 to install it (more tests: make test-napari)")
    folder = tmp_path_factory.mktemp("napari") / "environment"
    venv.create(folder)
    python = folder / "bin" / "python"
    wanted = ["napari[pyqt6]", "napari-plugin-manager", "napari-svg", "pyvirtualdisplay", *PACKAGES]
    subprocess.run([sys.executable, "-m", "uv", "pip", "install", "-q", "--python", python, *wanted], check=True, timeout=900)
    return python
