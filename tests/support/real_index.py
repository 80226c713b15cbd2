"""The real plugin index as a folder, built once per test run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock

from tests.end_to_end.test_real_index import replayed
from tests.support.processes import invoke


def real_index_folder(factory: pytest.TempPathFactory) -> Path:
    base = factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "real-index"
    with FileLock(f"{folder}.lock"):
        if not (folder / "index.html").exists():
            with replayed() as upstream:
                built = invoke("update_server", "index", "build", str(folder), "--upstream", upstream)
            assert built.exit_code == 0, built.stdout + built.stderr
    return folder
