"""A fake machine with a manual clock, for tests of the update check."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from napari_update_hook.client import UpdateClient
from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.installers import InstallEnvironment
from napari_update_hook.settings import Settings
from napari_update_hook.state import State

NOON = datetime(2026, 11, 18, 12, tzinfo=timezone.utc)
PYPI, CONDA_FORGE = "/api/updates/pypi.json", "/api/updates/conda-forge.json"
VENV = InstallEnvironment(PurePosixPath("/home/me/venv"), PurePosixPath("/home/me/venv/bin/python"))


def table(packages: Mapping[str, Any], channel: str = "pypi") -> dict[str, Any]:
    """Return an update table. ``packages``: by name, a version, a list of releases, or a complete entry."""
    entries = {}
    for name, entry in packages.items():
        rows = [{"version": entry}] if isinstance(entry, str) else entry
        entries[name] = rows if isinstance(rows, dict) else {"releases": rows}
    head = {"schema_version": 2, "channel": channel, "index_version": "2026-11-18T08:00:00Z", "check_again_s": 86400}
    return head | {"packages": entries}


def environment(python: str = "3.10.2", channel: str = "pypi", **versions: str | Distribution) -> Environment:
    """Return an environment. ``versions``: by name (``_`` stands for ``-``), a version installed by pip or a distribution."""
    found = {}
    for key, value in versions.items():
        name = key.replace("_", "-")
        found[name] = value if isinstance(value, Distribution) else Distribution(name, value, (), "pip", is_plugin=True)
    return Environment(python, channel, found)


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **length: float) -> None:
        self.now += timedelta(**length)


@dataclass
class Machine:
    folder: Path
    server: str
    environment: Environment
    clock: Clock = field(default_factory=Clock)
    install: InstallEnvironment = VENV
    disabled_by: str | None = None
    deadline: float = 60

    @property
    def state(self) -> State:
        return State(self.folder, "here")

    @property
    def client(self) -> UpdateClient:
        settings = Settings(self.server, self.folder, self.disabled_by, now=self.clock)
        return UpdateClient(settings, self.state, self.environment, self.install, self.deadline, random.Random(1))
