"""Fixtures that also work without the service: see ``client_hook/noxfile.py``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.hook import PYPI, Machine, environment, table
from tests.support.raw_server import RecordingServer

hypothesis.settings.register_profile("ours", parent=hypothesis.settings.default, deadline=None)  # the machine may be busy
hypothesis.settings.load_profile("ours")


@pytest.fixture(autouse=True)
def _isolated_from_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove settings that could change a result."""
    for name in list(os.environ):
        if name in ("CONDA_PREFIX", "COLUMNS") or name.startswith("NAPARI_UPDATE_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NAPARI_UPDATE_STATE", str(tmp_path / "client-state"))


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    made = RecordingServer()
    rows = {"affinder": [{"version": "0.5.0", "requires_python": ">=3.9"}],
            "napari-harpy": [{"version": "0.1.3", "requires_python": ">=3.12"}]}  # fmt: skip
    made.answer(PYPI, table(rows))
    yield made
    made.close()


@pytest.fixture
def machine(tmp_path: Path, server: RecordingServer) -> Machine:
    """Return a machine before its first check."""
    found = environment(affinder="0.4.0", napari_harpy="0.1.2", private_plugin="1.0")
    return Machine(tmp_path / "state", server.url, found)
