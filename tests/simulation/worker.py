"""Run sessions of the real client, with JSON lines as input and output.

    PYTHONPATH=... python -m tests.simulation.worker

The first ``napari_telemetry`` on the path is under test: this release or a later one.
"""

from __future__ import annotations

import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from napari_telemetry.client import TelemetryClient
from napari_telemetry.plugin.session import Session
from napari_telemetry.sending import run
from napari_telemetry.settings import SiteRules, TelemetrySettings
from napari_telemetry.store import Store
from napari_telemetry.transport import Transport
from napari_telemetry.wire import TELEMETRY_LEVELS, Level
from napari_update_hook.client import UpdateClient
from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.errors import UpdateHookError
from napari_update_hook.installers import InstallEnvironment
from napari_update_hook.settings import Settings
from napari_update_hook.state import State

PEOPLE_AT_ONCE = 3
"""Number of people to simulate concurrently in a process."""
PLACE = InstallEnvironment(PurePosixPath("/made/up"), PurePosixPath("/made/up/bin/python"))
DEADLINE_S = 60.0


def run_session(asked: dict[str, Any]) -> dict[str, Any]:
    now = datetime.fromisoformat(asked["now"])
    server, folder = asked["server"], Path(asked["folder"])
    settings = TelemetrySettings(server, dict.fromkeys(TELEMETRY_LEVELS, server), folder, SiteRules(), {}, now=lambda: now)
    store = Store(folder, asked["environment"])
    seen = asked["seen"]
    distributions = {
        name: Distribution(name, version, installer="pip", is_plugin=True) for name, version in seen["installed"].items()
    }
    environment = Environment(f"{seen['python']}.4", seen["channel"], distributions)
    client = TelemetryClient(settings, store, environment, DEADLINE_S, tuple(seen["system"]))
    state = State(folder, asked["environment"])
    updates = UpdateClient(
        Settings(server, folder, now=lambda: now), state, environment, PLACE, DEADLINE_S, random.Random(asked["seed"])
    )
    problems: list[str] = []
    gone: list[str] = []
    failure, rows = None, {}
    try:
        result = updates.check()
        rows = {row.name: [row.latest, row.status.value] for row in result.rows}
        if result.is_from_cache:
            failure = result.notice or "from the cache"
    except UpdateHookError as error:
        failure = str(error)
    if asked["consent"] is not None:
        level, days = asked["consent"]
        client.set_consent(Level(level), lasting=timedelta(days=days) if days else None, means="simulation")
    if asked["forget"]:
        gone = [one.identifier for one in store.view(settings.service).identifiers]
        with Transport(DEADLINE_S) as transport:
            problems = run(client.forget(), transport.exchange).problems
    outcome = client.send()
    if outcome.reason is not None and outcome.reason.endswith("later."):  # the service was killed after the check
        failure = failure or outcome.reason
    if asked["commands"] or asked["layers"]:
        session = Session(lambda: client)
        session._read()
        for command, count in asked["commands"].items():
            for _ in range(count):
                session.collector.command(command)
        for layer, dtype, shape, count in asked["layers"]:
            for _ in range(count):
                session.collector.layer(layer, np.broadcast_to(np.zeros((), dtype), shape))
        session._flush()
        if session.collector.pop_all():
            problems.append("the counts could not be written")
    view = store.view(settings.service)
    store.close()
    receipt = outcome.receipt
    return {
        "number": asked["number"],
        "stored": outcome.week if receipt and receipt.stored else None,
        "refused": bool(outcome.reason and "was not accepted" in outcome.reason),
        "failure": failure,
        "reason": outcome.reason,
        "has_secret": view.secrets is not None,
        "rows": rows,
        "problems": problems,
        "gone": gone,
        "identifiers": [[one.week, one.identifier] for one in view.identifiers],
    }


def run_person(sessions: list[dict[str, Any]]) -> None:
    for asked in sessions:
        try:
            told = run_session(asked)
        except Exception as error:
            told = {"number": asked["number"], "crash": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Read a person's sessions from each line, and run them."""
    with ThreadPoolExecutor(PEOPLE_AT_ONCE) as pool:
        for line in sys.stdin:
            pool.submit(run_person, json.loads(line))


if __name__ == "__main__":
    main()
