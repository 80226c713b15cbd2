"""What the client's tests share. They run without the service too: see ``client_hook/noxfile.py``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import respx
from napari_update_hook.settings import UNATTENDED_VARIABLES

from tests.support.client import SERVER, Machine, taking_server

hypothesis.settings.register_profile(
    "ours", parent=hypothesis.settings.default, deadline=None
)  # no test is timed: the machine may have other things to do
hypothesis.settings.load_profile("ours")
OURS = ("NAPARI_UPDATE_", "NAPARI_TELEMETRY")


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests run on a machine that may be a CI system and may have settings: none of it may decide a result."""
    for name in list(os.environ):
        if name in UNATTENDED_VARIABLES or name in ("DO_NOT_TRACK", "CONDA_PREFIX") or name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NAPARI_UPDATE_STATE", str(tmp_path / "client-state"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A computer on which nothing was ever asked or sent."""
    return Machine(tmp_path / "state")


@pytest.fixture
def server() -> Iterator[respx.MockRouter]:
    """A service that takes every report; every request to it is recorded."""
    with respx.mock(base_url=SERVER, assert_all_called=False) as router:
        taking_server(router)
        yield router
