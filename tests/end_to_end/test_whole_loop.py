"""The whole loop: people with the client, a server with a shifted clock, aggregation, and public numbers.

Uses 20 people, too few for most numbers, or 200 in `make test-all`.
"""

from __future__ import annotations

import json
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from napari_telemetry.client import TelemetryClient
from napari_telemetry.records import Counts
from napari_telemetry.sending import SendResult
from napari_telemetry.settings import SiteRules, TelemetrySettings, settings_from
from napari_telemetry.store import Store
from napari_telemetry.weeks import publishable_from, start_of
from napari_telemetry.wire import Level
from napari_update_hook.client import CheckResult, UpdateClient
from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.settings import Settings
from napari_update_hook.state import State
from napari_update_hook.updates import Status
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.support.client import PLACE
from tests.support.processes import Server, invoke, running_server
from tests.support.sample_upstream import PLUGINS, FakeUpstream
from tests.support.waiting import wait_until
from update_server.demo.population import generate_people

WEEK = "2026-W47"
DURING = start_of(WEEK) + timedelta(days=2)
VERSIONS = {
    "napari": ["0.5.6", "0.6.1"],
    "affinder": ["0.4.0", "0.5.0rc1", "0.5.0"],
    "micro-sam": ["1.5.0", "1.8.10"],
    "some-plugin": ["1.1.0", "1.2.0"],
    "napari-harpy": ["0.1.2"],  # a version that the index does not know
}
FINALS = {
    "affinder": ["0.4.0", "0.5.0"],
    "micro-sam": ["1.5.0", "1.8.10"],
    "some-plugin": ["1.1.0", "1.2.0"],
    "napari-harpy": [],
}
"""Published final releases, the only versions that telemetry may name."""
PEOPLE = 200 if os.environ.get("TEST_ALL") else 20


@dataclass(frozen=True)
class Installed:
    """An environment of a user. ``minor``: minor version of its Python."""

    minor: int
    system: tuple[str, str, str]
    installed: Mapping[str, str]

    def client_environment(self) -> Environment:
        """Return the environment as the client sees it, with a private plugin."""
        found = {key: Distribution(key, version, installer="pip", is_plugin=True) for key, version in self.installed.items()}
        found["my-secret-plugin"] = Distribution("my-secret-plugin", "1.0", is_plugin=True, is_local=True)
        return Environment(f"3.{self.minor}.4", "pypi", found)


@dataclass(frozen=True)
class User:
    number: int
    level: Level
    environments: Sequence[Installed]


def users() -> list[User]:
    """Return the users; every sixth does not consent."""
    dice = random.Random(7)
    found = []
    for person in generate_people(
        list(FINALS), 1, PEOPLE, python_at=lambda dice, _: str(dice.choice((9, 10, 11, 12, 13))), spread=0
    ):
        level = Level.NONE if person.number % 6 == 5 else Level(person.level)
        environments = [
            Installed(int(one.python), one.system, {name: dice.choice(VERSIONS[name]) for name in ("napari", *one.plugins)})
            for one in person.environments
        ]
        found.append(User(person.number, level, environments))
    return found


USERS = users()
Checked = tuple[User, Installed, CheckResult, SendResult, SendResult]
"""User, environment, check result, and results of sending on two days."""


def counted(values_of: Callable[[User, Installed], tuple[str, ...] | None], least: Level) -> dict[tuple[str, ...], int]:
    """Return the expected public counts by values."""
    people: dict[tuple[str, ...], set[int]] = defaultdict(set)
    for user in USERS:
        if user.level.includes(least):
            for environment in user.environments:
                if (values := values_of(user, environment)) is not None:
                    people[values].add(user.number)
    return {values: len(who) // 5 * 5 for values, who in people.items() if len(who) >= 10}


def python_with(plugin: str, user: User, one: Installed) -> tuple[str, ...] | None:
    return (f"3.{one.minor}",) if version_of(plugin, user, one) else None


def version_of(plugin: str, user: User, one: Installed) -> tuple[str, ...] | None:
    version = one.installed.get(plugin)
    return (version,) if version in FINALS[plugin] else None


PEOPLE_BY: dict[str, Callable[[User, Installed], tuple[str, ...] | None]] = {
    "python": lambda user, one: (f"3.{one.minor}",),
    "platform,architecture": lambda user, one: one.system[:2],
    "level": lambda user, one: (user.level.value,) if user.level is not Level.BASIC else None,  # the lowest has no row
}


def client_settings(server: Server, state: Path, now: datetime = DURING) -> TelemetrySettings:
    environ = {"NAPARI_UPDATE_NOW": now.isoformat(), "NAPARI_UPDATE_STATE": str(state)}
    return settings_from(environ, server.url, SiteRules())


def use(user: User, server: Server, folder: Path) -> list[tuple[Installed, CheckResult, SendResult, SendResult]]:
    """Simulate two days of a user: check, consent, send, use napari, send again."""
    state_folder = folder / f"user-{user.number}"
    settings, next_day = (
        client_settings(server, state_folder),
        client_settings(server, state_folder, DURING + timedelta(hours=27)),
    )
    results = []
    for number, made in enumerate(user.environments):
        store, environment = Store(settings.state, f"environment-{number}"), made.client_environment()
        client = TelemetryClient(settings, store, environment, 120, made.system)  # many clients at once on a busy machine
        state = State(state_folder, f"environment-{number}")
        updates = UpdateClient(Settings(server.url, state_folder), state, environment, PLACE, deadline=120)
        checked = updates.check()
        if user.level is not Level.NONE:
            consent = client.set_consent(user.level, means="test").number
        first = client.send()
        if user.level is not Level.NONE:
            counts = {WEEK: Counts({"napari.window.file.open_files_dialog": 10 + user.number, "my-secret-plugin.run": 3})}
            client.add_counts(consent, counts)
            assert bool(store.view(settings.service).counts) is (user.level is Level.FULL)
        second = TelemetryClient(next_day, store, environment, 120, made.system).send()
        results.append((made, checked, first, second))
        store.close()
    return results


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path, list[Checked]]]:
    folder = tmp_path_factory.mktemp("loop")
    with (
        FakeUpstream().served() as upstream,
        running_server(folder / "data", UPDATE_SERVER_UPSTREAM=upstream, UPDATE_SERVER_NOW=DURING.isoformat()) as server,
    ):
        wait_until(lambda: server.get("/health/ready").json()["index"]["origin"] == "refresh", server.log.read_text)
        with ThreadPoolExecutor(8) as pool:
            days = list(pool.map(lambda user: use(user, server, folder), USERS))
        checks = [(user, *lived) for user, day in zip(USERS, days, strict=True) for lived in day]
        yield server, folder, checks


Loop = tuple[Server, Path, list[Checked]]


def newest_compatible(name: str, python: str) -> str | None:
    project = next(project for project in PLUGINS if project.name.lower().replace(".", "-").replace("_", "-") == name)
    fitting = [
        Version(version)
        for version, files in project.releases.items()
        if any(file.yanked is False and python in SpecifierSet(file.requires_python or "") for file in files)
    ]
    final = [version for version in fitting if not version.is_prerelease]
    return str(max(final or fitting)) if fitting else None


def check_updates_for_each_python_version(loop: Loop) -> None:
    _, _, checks = loop
    assert len(checks) > len(USERS), "some people have two environments"
    updates = 0
    for _, environment, result, _, _ in checks:
        assert {row.name for row in result.rows} == set(environment.installed)
        for row in result.rows:
            expected = newest_compatible(row.name, f"3.{environment.minor}.4")
            assert row.latest == expected, (row, environment)
            is_update = expected is not None and Version(expected) > Version(row.installed)
            assert (row.status is Status.UPDATE) is is_update
            updates += is_update
            if row.name == "napari" and environment.minor == 10:
                assert row.note == "0.8.0 needs Python >=3.11; this is 3.10"
    assert updates > PEOPLE / 2


def check_reports_were_sent_only_with_consent(loop: Loop) -> None:
    _, folder, checks = loop
    for user, _, _, first, second in checks:
        sent = [outcome.receipt for outcome in (first, second)]
        revisions = [receipt.revision if receipt else None for receipt in sent]
        assert revisions == {Level.NONE: [None, None], Level.FULL: [1, 2]}.get(user.level, [1, None])
        assert all(receipt.stored for receipt in sent if receipt)
    silent = next(user for user in USERS if user.level is Level.NONE)
    assert not Store(folder / f"user-{silent.number}", "environment-0").exists


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def check_server_has_no_private_data(loop: Loop) -> None:
    server, folder, _ = loop
    for path in [*files_in(folder / "data"), server.log]:
        written = path.read_bytes().replace(server.url.encode(), b"")
        assert b"my-secret-plugin" not in written, path.name
        assert b"127.0.0.1" not in written, f"{path.name} contains a caller's address"
    assert not any(b"0.5.0rc1" in path.read_bytes() for path in files_in(folder / "data" / "raw")), "no pre-release is named"


def published(server: Server, path: str) -> dict[tuple[str, ...], int]:
    numbers = server.get(path).json()
    assert numbers["weeks"] == [WEEK]
    return {tuple(value for name, value in row["values"].items() if name != "plugin"): row["people"] for row in numbers["rows"]}


def check_public_numbers(loop: Loop) -> None:
    server, folder, _ = loop
    data = {"UPDATE_SERVER_DATA": str(folder / "data")}
    early = invoke(
        "aggregation", "run", "--week", WEEK, "--now", (publishable_from(WEEK) - timedelta(hours=2)).isoformat()[:19], **data
    )
    assert early.exit_code == 2
    assert server.get("/api/stats/napari").json()["rows"] == []
    done = invoke("aggregation", "run", "--now", publishable_from(WEEK).isoformat()[:19], **data)
    assert done.exit_code == 0, done.stderr
    assert WEEK in done.stdout
    wait_until(lambda: server.get("/api/stats/napari").json()["weeks"] == [WEEK])  # the service checks once a second

    for plugin, finals in FINALS.items():
        by_python = counted(partial(python_with, plugin), Level.MIDDLE)
        assert published(server, f"/api/stats/plugins/{plugin}?by=python") == by_python, plugin
        by_version = counted(partial(version_of, plugin), Level.MIDDLE)
        assert published(server, f"/api/stats/plugins/{plugin}?by=version") == by_version, plugin
        assert by_python or PEOPLE < 200 or not finals, "there are enough people to show something"
    for kind, values_of in PEOPLE_BY.items():
        assert published(server, f"/api/stats/napari?by={kind}") == counted(values_of, Level.BASIC), kind
    assert f"{total_people(server)}" in server.get("/dashboard").text


def total_people(server: Server) -> int:
    """Return the published total, which may be lowered by five to the sum of a table."""
    (people,) = published(server, "/api/stats/napari").values()
    everybody = sum(user.level is not Level.NONE for user in USERS)
    assert people in {everybody // 5 * 5, everybody // 5 * 5 - 5}
    return people


def check_own_reports_can_be_found_and_deleted(loop: Loop) -> None:
    import httpx

    server, folder, _ = loop
    user = next(user for user in USERS if user.level is Level.FULL)
    (sent, *_) = Store(folder / f"user-{user.number}", "environment-0").view(server.url).sent
    identifier = json.loads(sent.request)["report"]["identifier"]
    found = httpx.post(f"{server.url}/api/reports/find", json={"identifier": identifier}).json()["reports"]
    assert len(found) == len(user.environments)
    deleted = httpx.post(f"{server.url}/api/reports/delete", json={"identifier": identifier}).json()
    assert deleted == {"deleted": len(user.environments)}
    assert httpx.post(f"{server.url}/api/reports/find", json={"identifier": identifier}).json() == {"reports": []}
    for path in files_in(folder / "data"):
        assert identifier.encode() not in path.read_bytes(), f"a deleted identifier is still in {path.name}"


def check_raw_reports_expire_and_numbers_stay(loop: Loop) -> None:
    _, folder, _ = loop
    later = start_of(WEEK) + timedelta(days=60)
    with running_server(
        folder / "data", UPDATE_SERVER_UPSTREAM="http://127.0.0.1:9", UPDATE_SERVER_NOW=later.isoformat()
    ) as server:
        status = {"UPDATE_SERVER_DATA": str(folder / "data")}

        def raw_weeks() -> list[str]:
            told = invoke("aggregation", "status", "--json", **status)
            weeks: list[str] = json.loads(told.stdout)["raw_weeks"]
            return weeks

        wait_until(lambda: raw_weeks() == [], server.log.read_text, seconds=120)
        assert total_people(server)


@pytest.mark.promise("nothing-without-consent")
@pytest.mark.promise("every-text-is-public")
@pytest.mark.promise("deleted-after-60-days")
def test_whole_loop_from_consent_to_public_numbers_and_deletion(loop: Loop) -> None:
    """Run all steps as one test, because each builds on the previous one."""
    check_updates_for_each_python_version(loop)
    check_reports_were_sent_only_with_consent(loop)
    check_server_has_no_private_data(loop)
    check_public_numbers(loop)
    check_own_reports_can_be_found_and_deleted(loop)
    check_raw_reports_expire_and_numbers_stay(loop)
