"""The patch for napari-plugin-manager, on a copy of the installed package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.inside_napari.processes import apply_patch


def test_the_patched_plugin_manager_passes_its_new_tests(tmp_path: Path) -> None:
    import napari_plugin_manager

    subprocess.run(["cp", "-r", Path(napari_plugin_manager.__file__).parent, tmp_path], check=True)
    apply_patch(tmp_path, "napari-plugin-manager")
    tests = tmp_path / "napari_plugin_manager" / "_tests" / "test_npe2api.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tests)]
    done = subprocess.run(
        [*command, "-k", "asked_for or does_not_answer or user_agent"],  # the others use the public index
        env=os.environ | {"PYTHONPATH": str(tmp_path), "QT_QPA_PLATFORM": "offscreen"},
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
