"""A fake machine with a manual clock, and mocked servers, for client tests."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import respx
from napari_telemetry.client import TelemetryClient
from napari_telemetry.records import View
from napari_telemetry.settings import Maximum, SiteRules, TelemetrySettings
from napari_telemetry.store import Store
from napari_telemetry.wire import TELEMETRY_LEVELS, Level
from napari_update_hook.client import UpdateClient
from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.installers import InstallEnvironment
from napari_update_hook.settings import Settings
from napari_update_hook.state import CheckState, State

SERVER = "https://updates.example"
NOON = datetime(2026, 11, 18, 12, tzinfo=timezone.utc)
WEEK = "2026-W47"

TABLE_PATH = "/api/updates/pypi.json"
TABLE: dict[str, Any] = {
    "schema_version": 2,
    "channel": "pypi",
    "index_version": "2026-11-18T08:00:00Z",
    "check_again_s": 86400,
    "takes_reports": True,
    "packages": {
        "affinder": {"releases": [{"version": "0.5.0", "requires_python": ">=3.9"}]},
        "napari-harpy": {"releases": [{"version": "0.1.3", "requires_python": ">=3.12"}]},
    },
}
TABLE_BODY = json.dumps(TABLE).encode()
ALLOWED: dict[str, Any] = {
    "schema_version": 1,
    "napari_versions": ["0.6.1"],
    "python_versions": ["3.10"],
    "platforms": ["linux"],
    "cpu_architectures": ["x86_64"],
    "sys_names": ["Debian 12"],
    "plugins": {"affinder": ["0.4.0", "0.5.0"]},
    "commands": {"affinder": ["affinder.start"], "napari": ["napari.window.open"]},
    "layers": ["image", "points"],
    "classes": ["ndarray"],
    "dtypes": ["uint8", "float32"],
}
SYSTEM = ("linux", "x86_64", "Debian 12")
HERE = Environment(
    "3.10.2",
    "pypi",
    {
        "affinder": Distribution("affinder", "0.4.0", installer="pip", is_plugin=True),
        "napari-harpy": Distribution("napari-harpy", "0.1.2", installer="pip", is_plugin=True),
        "private-plugin": Distribution("private-plugin", "1.0", installer="pip", is_plugin=True),
        "numpy": Distribution("numpy", "2.0.0", installer="pip"),
    },
)
PLACE = InstallEnvironment(PurePosixPath("/home/me/venv"), PurePosixPath("/home/me/venv/bin/python"))


class Clock:
    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **length: float) -> None:
        """Advance the clock; negative values set it back."""
        self.now += timedelta(**length)


@dataclass
class Machine:
    """A user account on one computer."""

    folder: Path
    server: str = SERVER
    level_servers: dict[Level, str] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    site: SiteRules = field(default_factory=SiteRules)
    environment: Environment = HERE
    name: str = "here"
    clock: Clock = field(default_factory=Clock)
    deadline: float = 60
    maximum: Maximum = field(default_factory=Maximum)
    """The maximum level set in napari's Preferences."""
    system: tuple[str, str, str] = SYSTEM
    _store: Store | None = None

    @property
    def settings(self) -> TelemetrySettings:
        servers = dict.fromkeys(TELEMETRY_LEVELS, self.server) | self.level_servers
        return TelemetrySettings(
            self.server, servers, self.folder, self.site, self.environ, self.clock, preferences=lambda: self.maximum
        )

    @property
    def store(self) -> Store:
        if self._store is None:
            self._store = Store(self.folder, self.name)
        return self._store

    @property
    def view(self) -> View:
        return self.store.view(self.settings.service)

    @property
    def client(self) -> TelemetryClient:
        return TelemetryClient(self.settings, self.store, self.environment, self.deadline, self.system)

    @property
    def state(self) -> State:
        return State(self.folder, self.name)

    @property
    def updates(self) -> UpdateClient:
        settings = Settings(self.server, self.folder, environ=self.environ, now=self.clock)
        return UpdateClient(settings, self.state, self.environment, PLACE, self.deadline, random.Random(1))

    def note_check(self, path: str = TABLE_PATH, body: bytes = TABLE_BODY) -> None:
        self.state.write_check(CheckState({f"{self.server}{path}": (self.clock(), body.decode())}))

    def consent(self, level: Level, lasting: timedelta | None = None) -> None:
        """Consent, after an update check if there was none."""
        if not self.state.read_check().answers:
            self.note_check()
        self.client.set_consent(level, lasting=lasting, means="test")


def accepting_server(router: respx.MockRouter, base: str = "") -> None:
    """Mock a service that accepts every report. ``base``: URL prefix if the router has none."""
    router.get(f"{base}{TABLE_PATH}").respond(200, content=TABLE_BODY, headers={"content-type": "application/json"})
    for level in TELEMETRY_LEVELS:
        router.get(f"{base}/api/telemetry/allowed/{level}").respond(200, json=ALLOWED)
        router.post(f"{base}/api/updates/{level}").mock(side_effect=accept_batch)


def accept_batch(request: httpx.Request) -> httpx.Response:
    revision = json.loads(body_of(request))["report"]["revision"]
    receipt = {"stored": True, "revision": revision, "reason": None, "left_out": {"plugins": 0, "commands": 0}}
    return httpx.Response(200, json={"receipt": receipt})


def body_of(request: httpx.Request) -> bytes:
    content = request.content
    return gzip.decompress(content) if request.headers.get("content-encoding") == "gzip" else content


def table_of(**versions: str) -> dict[str, Any]:
    """Return an update table with one release of each package, without requirements."""
    packages = {name.replace("_", "-"): {"releases": [{"version": version}]} for name, version in versions.items()}
    return TABLE | {"packages": packages}


def requests_of(router: respx.MockRouter) -> list[tuple[str, str]]:
    return [(call.request.method, call.request.url.path) for call in router.calls]


def reports_of(router: respx.MockRouter) -> list[dict[str, Any]]:
    return [
        json.loads(body_of(call.request))["report"]
        for call in router.calls
        if call.request.method == "POST" and "/api/updates/" in call.request.url.path
    ]
