"""Fixtures of the client tests, which also run without the service: see ``client_hook/noxfile.py``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import respx
from napari_update_hook.settings import UNATTENDED_VARIABLES

from tests.support.client import SERVER, Machine, accepting_server

# no deadline: the machine may be busy
hypothesis.settings.register_profile("ours", parent=hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("ours")
OWN_PREFIXES = ("NAPARI_UPDATE_", "NAPARI_TELEMETRY")


@pytest.fixture(autouse=True)
def _isolated_from_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove CI variables and local settings that could change a result."""
    for name in list(os.environ):
        if name in UNATTENDED_VARIABLES or name in ("DO_NOT_TRACK", "CONDA_PREFIX") or name.startswith(OWN_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NAPARI_UPDATE_STATE", str(tmp_path / "client-state"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine without consent or reports."""
    return Machine(tmp_path / "state")


@pytest.fixture
def server() -> Iterator[respx.MockRouter]:
    """Mock a service that accepts every report and records every request."""
    with respx.mock(base_url=SERVER, assert_all_called=False) as router:
        accepting_server(router)
        yield router
