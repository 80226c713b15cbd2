"""A session of napari without napari, on a state folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from napari_telemetry import collect
from napari_telemetry.api import Here
from napari_telemetry.plugin import marks, reading, tasks
from napari_telemetry.plugin import session as sessions
from napari_telemetry.plugin.session import Session
from napari_telemetry.state import database

from tests.support.client import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "state")


@pytest.fixture
def session(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(sessions, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 20.0)  # this test's own thread uses the files, too, and tries once
    monkeypatch.setattr(collect, "_collector_here", lambda: collect.Collector(machine.settings, machine.store, lambda: None))  # type: ignore[arg-type, return-value]
    made = Session(lambda: Here(machine.settings, machine.store, machine.client))
    yield made
    made.stop()
    collect.stop_counting()


@pytest.fixture
def impatient(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody uses is soon given up."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(tasks, "REST_S", 0.1)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is read once more only because it has just changed."""
    monkeypatch.setattr(marks, "SETTLES_AFTER_S", 3600.0)


@pytest.fixture
def site_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where administrators put their file."""
    path = tmp_path / "etc" / "site.json"
    path.parent.mkdir()
    monkeypatch.setattr(reading, "_site_files", lambda: (path,))
    return path
