"""Sittings of the real client, in a process of its own: a JSON line in, a JSON line out.

    PYTHONPATH=... python -m tests.simulation.worker

Whatever ``napari_telemetry`` is first on the path is the client that is run: this release or a later one.
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
from napari_telemetry.collect import Collector
from napari_telemetry.environment import Distribution, Environment
from napari_telemetry.facts import facts_of
from napari_telemetry.own_data import forget
from napari_telemetry.settings import ClientSettings, SiteRules
from napari_telemetry.state import ClientStore
from napari_telemetry.wire import TELEMETRY_LEVELS, Level
from napari_update_hook.client import UpdateClient
from napari_update_hook.errors import UpdateHookError
from napari_update_hook.installers import InstallEnvironment
from napari_update_hook.settings import Settings
from napari_update_hook.state import State

from tests.support.client import hook_environment

AT_ONCE = 3
"""Persons whose sittings run at the same time in a process."""
PLACE = InstallEnvironment(PurePosixPath("/made/up"), PurePosixPath("/made/up/bin/python"))
DEADLINE_S = 60.0


def sitting(asked: dict[str, Any]) -> dict[str, Any]:
    """Let somebody sit down: answer, delete, check for updates, use napari. Returns what became of it."""
    now = datetime.fromisoformat(asked["now"])
    server, folder = asked["server"], Path(asked["folder"])
    settings = ClientSettings(server, dict.fromkeys(TELEMETRY_LEVELS, server), folder, SiteRules(), {}, now=lambda: now)
    store = ClientStore(folder, asked["environment"])
    seen = asked["seen"]
    platform, architecture, system = seen["system"]
    environment = Environment(
        f"{seen['python']}.4",
        platform,
        architecture,
        system,
        seen["channel"],
        {name: Distribution(name, version, installer="pip") for name, version in seen["installed"].items()},
    )
    client = TelemetryClient(settings, store, environment, DEADLINE_S, random.Random(asked["seed"]))
    state = State(folder, asked["environment"])
    updates = UpdateClient(
        Settings(server, folder, now=lambda: now),
        state,
        hook_environment(environment),
        PLACE,
        DEADLINE_S,
        random.Random(asked["seed"]),
    )
    problems: list[str] = []
    gone: list[str] = []
    if asked["consent"] is not None:
        level, days = asked["consent"]
        client.set_consent(Level(level), lasting=timedelta(days=days) if days else None, means="simulation")
    if asked["forget"]:
        gone = [one.identifier for one in store.sendings.identifiers()]
        problems = forget(settings, store, DEADLINE_S).problems
    outcome, failure, rows = client.send(), None, {}
    try:
        result = updates.check()
        rows = {row.name: [row.latest, row.status.value] for row in result.rows}
        if result.is_from_cache:
            failure = result.notice or "from the cache"
    except UpdateHookError as error:
        failure = str(error)
    if asked["commands"] or asked["layers"]:
        collector = Collector(settings, store, lambda: facts_of(environment, Level.FULL))
        for command, count in asked["commands"].items():
            for _ in range(count):
                collector.command(command)
        for layer, dtype, shape, count in asked["layers"]:
            for _ in range(count):
                collector.layer(layer, np.broadcast_to(np.zeros((), dtype), shape))
        if not collector.flush():
            problems.append("the counts could not be written")
    receipt = outcome.receipt
    return {
        "number": asked["number"],
        "stored": outcome.week if receipt and receipt.stored else None,
        "refused": bool(outcome.reason and "was not taken" in outcome.reason),
        "failure": failure,
        "has_secret": store.consents.secrets() is not None,
        "rows": rows,
        "problems": problems,
        "gone": gone,
        "identifiers": [[one.week, one.identifier] for one in store.sendings.identifiers()],
    }


def person(sittings: list[dict[str, Any]]) -> None:
    """Live the sittings of one person, one after the other."""
    for asked in sittings:
        try:
            told = sitting(asked)
        except Exception as error:
            told = {"number": asked["number"], "crash": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Read persons from the standard input, one a line, until it ends."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for line in sys.stdin:
            pool.submit(person, json.loads(line))


if __name__ == "__main__":
    main()
