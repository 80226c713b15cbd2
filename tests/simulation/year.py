"""Run a simulated year and check every session."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from packaging.version import Version

from tests.simulation.answers import compare_answers, compare_rows
from tests.simulation.data import ServiceData, by_week
from tests.simulation.grown import ENTRY, write_later_release
from tests.simulation.model import EnvironmentModel, Model, Outcome, document_of, monday_of, ordered, week_of
from tests.simulation.numbers import CELLS, public_numbers
from tests.simulation.offers import read_offers
from tests.simulation.processes import ROOT, Clients, ServerProcess, SimulationError, Upstream, wait_until
from tests.simulation.world import (
    LAYERS,
    NAMES,
    PRIVATE_COMMAND,
    PRIVATE_PLUGIN,
    Acts,
    Person,
    decide,
    installed,
    is_active,
    sample_people,
    sample_usage,
)
from update_server.demo.population import SampleEnvironment

FIRST = date(2025, 7, 21)
"""First day of the year; the replayed snapshot is from August 2026."""
SESSION_TIMES = ((timedelta(days=1, hours=10), 0.75), (timedelta(days=3, hours=16), 0.65), (timedelta(days=6, hours=12), 0.2))
"""Times of sessions in a week, each with the share of active people."""
RETENTION = timedelta(days=60)
PUBLICATION_DELAY = timedelta(days=21, hours=1)
RETRY_AFTER = timedelta(hours=3)
UNREACHABLE = "http://127.0.0.1:9"
FINAL_WEEKS = (0, 2, 4, 9)
"""Weeks after the year in which to run the service, until all raw data must be deleted."""


@dataclass
class Report:
    """Counts of a run. ``rows``: compared package rows. ``answers``: counts by the rule that decided."""

    people: int = 0
    environments: int = 0
    weeks: int = 0
    numbers_listed: int = 0
    sessions: int = 0
    reports: int = 0
    rows: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    most_raw_rows: int = 0
    most_raw_bytes: int = 0
    aggregate_bytes: int = 0
    log_bytes: int = 0
    server_cpu_s: float = 0.0
    identifiers: int = 0
    happened: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        return {
            one.name: dict(value) if isinstance(value := getattr(self, one.name), Counter) else value for one in fields(self)
        }


@dataclass(frozen=True)
class Step:
    number: int
    week: int
    at: datetime
    share: float
    is_first_of_week: bool


Progress = Callable[[str, int, int], None]


class Year:
    """``script``: replay of the real index. ``restless``: see `decide`."""

    def __init__(
        self, folder: Path, script: Path, *, people: int, weeks: int, seed: int = 1, restless: float = 1.0, first: date = FIRST
    ) -> None:
        self._restless = restless
        self._first = datetime.combine(first, time(), UTC)
        self._folder, self._weeks, self._seed = folder, weeks, seed
        self._upgrade_week = weeks // 2
        self._upstream = Upstream(script)
        self._data = ServiceData(folder)
        self._server = ServerProcess(self._data.data, self._data.log)
        self._model = Model()
        self._people = sample_people(people, weeks, seed)
        self._due: dict[str, dict[str, dict[tuple[str, ...], int]]] = {}
        self._identifiers: dict[str, set[str]] = defaultdict(set)
        self._gone: set[str] = set()
        self._week_of: dict[str, str] = {}
        self._asked = 0
        self._shown: date | None = None
        """Day of the data in the index; None if upstream failed for some projects."""
        self._later_release: Path | None = None
        self.report = Report(people=people, environments=sum(len(person.environments) for person in self._people), weeks=weeks)

    def live(self, progress: Progress = lambda *_: None) -> Report:
        """Run the year and the weeks after it. Raises SimulationError."""
        grown = write_later_release(self._folder / "later-release")
        clients = {1: Clients(None, 2), 2: Clients(grown, 2)}
        try:
            self._upstream.show(None)
            self._offers = read_offers(self._upstream.url, ("napari", *NAMES))
            self._upstream.show(self._first.date())
            steps = list(self._steps())
            for step in steps:
                if step.is_first_of_week and step.week == self._upgrade_week:
                    self._later_release = grown
                    self.report.happened["service releases with one more field"] += 1
                self._step(step, clients)
                progress(f"{week_of(step.at)}", step.number + 1, len(steps) + len(FINAL_WEEKS))
            for number, weeks_later in enumerate(FINAL_WEEKS):
                self._quiet_week(self._first + timedelta(weeks=self._weeks + weeks_later, days=1))
                progress("afterwards", len(steps) + number + 1, len(steps) + len(FINAL_WEEKS))
            self._compare_published()
            self._check_nothing_is_left()
        finally:
            self._server.stop(signal.SIGKILL)
            self._upstream.stop()
            for pool in clients.values():
                pool.close()
        self.report.server_cpu_s = self._server.cpu_s
        return self.report

    def _steps(self) -> Iterator[Step]:
        number = 0
        for week in range(self._weeks):
            for place, (offset, share) in enumerate(SESSION_TIMES):
                yield Step(number, week, self._first + timedelta(weeks=week) + offset, share, place == 0)
                number += 1

    def _step(self, step: Step, clients: dict[int, Clients]) -> None:
        """Start the service, run everyone's sessions, check, and stop it."""
        if step.is_first_of_week:
            self._update_upstream(step)
        is_down = step.number % 23 == 11
        killed_after = 0.4 if step.number % 17 == 8 and not is_down else None
        if is_down:
            self.report.happened["days without the service"] += 1
        else:
            self._start(step.at, refreshes=step.is_first_of_week)
            self._read_lists(step)
        persons = list(self._sessions_at(step, may_forget=not is_down and killed_after is None))
        total = sum(len(sessions) for _, sessions in persons)
        told = self._run_sessions(
            persons, clients, kill_when=int(total * killed_after) if killed_after and total else None, step=step
        )
        self._compare_sessions(persons, told, step, clients, is_down=is_down, was_killed=killed_after is not None)
        if not is_down:
            self._check_retention(step.at)
            self._compare_stored()
            self._server.stop()
            self._check_deleted_identifiers()

    def _update_upstream(self, step: Step) -> None:
        day = step.at.date()
        self._shown = None if step.week % 9 == 7 else self._shown if step.week % 9 == 4 else day
        if step.week % 9 == 4:
            self._upstream.stop()
            self.report.happened["weeks without upstream"] += 1
        elif step.week % 9 == 7:
            self._upstream.show(day, fail_rate=0.2, truncate_rate=0.02)
            self.report.happened["weeks with upstream failures"] += 1
        else:
            self._upstream.show(day)

    def _start(self, at: datetime, *, refreshes: bool = False) -> None:
        """Start the service and wait for due weeks to be published. ``refreshes``: whether upstream is reachable."""
        self._server.start(self._later_release, at, self._upstream.url if refreshes else UNREACHABLE)
        due = [week for week in self._model.stored if monday_of(week) + PUBLICATION_DELAY <= at and self._model.stored[week]]
        for week in sorted(set(due) - set(self._due)):
            self._due[week] = public_numbers(self._model.stored[week])
        wait_until(
            lambda: set(self._due) <= self._data.published_weeks(), lambda: f"not published at {at}: {sorted(self._due)[-3:]}"
        )

    def _read_lists(self, step: Step) -> None:
        """Wait for the refresh; the allow-lists must include every release of that day."""
        if step.is_first_of_week and self._upstream.process is not None:
            wait_until(
                lambda: (self._server.ask("/health/ready")["index"]["last_refresh_at"] or "") >= f"{step.at:%Y-%m-%dT%H:%M}",
                lambda: f"no refresh at {step.at}",
            )
        lists = self._server.ask("/api/telemetry/allowed/full")
        self._listed = {name: frozenset(versions) for name, versions in lists["plugins"].items()}
        self._listed["napari"] = frozenset(lists["napari_versions"])
        if self._shown is not None:
            for name in self._offers.files:
                newest = self._offers.newest_final(name, self._shown)
                if newest is not None and newest not in self._listed.get(name, ()):
                    raise SimulationError(f"the public list of {self._shown} lacks {name} {newest}")
            if step.is_first_of_week:
                self.report.answers += compare_answers(self._offers, self._server.ask, self._shown)

    def _sessions_at(self, step: Step, *, may_forget: bool) -> Iterator[tuple[Person, list[dict[str, Any]]]]:
        monday = self._first + timedelta(weeks=step.week)
        for person in self._people:
            dice = random.Random(f"{self._seed} {person.number} {step.number}")
            if is_active(person, step.week, monday) and dice.random() < step.share:
                yield (
                    person,
                    [
                        self._session(person, made, step, dice, may_forget=may_forget)
                        for made in person.environments
                        if made is person.environments[0] or dice.random() < 0.6
                    ],
                )

    def _schema(self, person: Person, step: Step) -> int:
        return 2 if step.week >= self._upgrade_week + 1 + person.upgrades else 1

    def _session(
        self, person: Person, made: SampleEnvironment, step: Step, dice: random.Random, *, may_forget: bool
    ) -> dict[str, Any]:
        own, at = self._model.environment(person.number, f"environment-{made.number}"), step.at + person.skew
        schema = self._schema(person, step)
        decided = decide(
            dice,
            was_asked_before=own.consent is not None,
            level=own.level(at, schema),
            is_over=own.consent is not None
            and own.consent.level != "none"
            and (own.has_ended(at) or own.consent.schema < schema),
            restless=self._restless,
        )
        used = sample_usage(dice)
        self._asked += 1
        return {
            "number": self._asked,
            "folder": str(self._folder / "clients" / str(person.number)),
            "environment": f"environment-{made.number}",
            "now": at.isoformat(),
            "server": self._server.url,
            "seed": self._asked,
            "seen": {
                "python": made.python, "system": made.system, "channel": made.channel,
                "installed": installed(made, self._offers, step.at.date()),
            },
            "consent": decided.consent,
            "forget": decided.forget and may_forget,
            "commands": used.commands,
            "layers": [[*LAYERS[place][:3], count] for place, count in used.layers.items()],
            "used": used.layers,
        }  # fmt: skip

    def _run_sessions(
        self,
        persons: list[tuple[Person, list[dict[str, Any]]]],
        clients: dict[int, Clients],
        *,
        kill_when: int | None,
        step: Step,
    ) -> dict[int, dict[str, Any]]:
        told: dict[int, dict[str, Any]] = {}
        counts: Counter[int] = Counter()
        for person, sessions in persons:
            schema = self._schema(person, step)
            clients[schema].send(sessions)
            counts[schema] += len(sessions)
        for schema, count in counts.items():
            for answer in clients[schema].take(count):
                told[answer["number"]] = answer
                if kill_when is not None and len(told) == kill_when:
                    self._server.stop(signal.SIGKILL)
                    self.report.happened["service kills"] += 1
        if kill_when is not None:
            self._server.stop(signal.SIGKILL)
            self._server.start(self._later_release, step.at + RETRY_AFTER, UNREACHABLE)
        return told

    def _compare_sessions(
        self,
        persons: list[tuple[Person, list[dict[str, Any]]]],
        told: dict[int, dict[str, Any]],
        step: Step,
        clients: dict[int, Clients],
        *,
        is_down: bool,
        was_killed: bool,
    ) -> None:
        again: list[tuple[Person, list[dict[str, Any]]]] = []
        for person, sessions in persons:
            repeated = []
            for asked in sessions:
                answer = told[asked["number"]]
                got_through = answer.get("failure") is None or answer.get("stored") is not None or answer.get("refused", False)
                reached = not is_down and (got_through or not was_killed)
                expected = self._expected_outcome(person, asked, step, reached=reached)
                self._compare_session(person, asked, answer, expected, may_fail=is_down or was_killed)
                if was_killed and not reached:
                    self._asked += 1
                    later = datetime.fromisoformat(asked["now"]) + RETRY_AFTER
                    nothing: dict[str, Any] = {"consent": None, "forget": False, "commands": {}, "layers": [], "used": {}}
                    repeated.append(asked | nothing | {"number": self._asked, "seed": self._asked, "now": later.isoformat()})
            if repeated:
                again.append((person, repeated))
        if again:
            self.report.happened["sessions repeated after a kill"] += sum(len(one) for _, one in again)
            self._compare_sessions(again, self._run_sessions(again, clients, kill_when=None, step=step), step, clients,
                              is_down=False, was_killed=False)  # fmt: skip

    def _expected_outcome(self, person: Person, asked: dict[str, Any], step: Step, *, reached: bool) -> Outcome:
        own: EnvironmentModel = self._model.environment(person.number, asked["environment"])
        at, schema = datetime.fromisoformat(asked["now"]), self._schema(person, step)
        acts = Acts(asked["consent"], asked["forget"], asked["commands"], asked["used"])
        seen = asked["seen"]
        plugins = {
            name: version
            for name, version in seen["installed"].items()
            if name != "napari" and not Version(version).is_prerelease  # reports name only final releases
        }
        facts = {
            "napari": seen["installed"].get("napari"), "python": seen["python"], "system": seen["system"],
            "channel": seen["channel"], "plugins": plugins,
        }  # fmt: skip
        self._count_events(acts, own, at)
        self._model.act(own, acts, at, schema)
        outcome = self._model.check(own, facts, at, at - person.skew, schema, self._listed, reached=reached)
        self._model.use(own, acts, facts, at, schema)
        return outcome

    def _count_events(self, acts: Acts, own: EnvironmentModel, at: datetime) -> None:
        happened = self.report.happened
        if acts.forget:
            happened["deletions"] += 1
        if acts.consent is None:
            return
        before = own.consent
        if acts.consent[0] == "none":
            happened["consents refused" if before is None else "consents withdrawn"] += 1
        elif before is None or before.level == "none":
            happened["consents given"] += 1
        elif own.has_ended(at):
            happened["consents renewed after expiry"] += 1
        else:
            happened["consents changed, or renewed for an added field"] += 1

    def _compare_session(
        self, person: Person, asked: dict[str, Any], answer: dict[str, Any], expected: Outcome, *, may_fail: bool
    ) -> None:
        self.report.sessions += 1
        self.report.reports += answer.get("stored") is not None
        told = f"person {person.number}, {asked}: {answer}"
        if "crash" in answer or answer["problems"]:
            raise SimulationError(f"a client failed: {told}")
        if answer["failure"] and not may_fail:
            raise SimulationError(f"a check failed while the service was up: {told}")
        if answer["stored"] != expected.stored:
            raise SimulationError(f"expected {expected}, but: {told}")
        if answer["failure"] is None:
            self._compare_rows(asked["seen"], answer["rows"], told)
        if answer["refused"] and expected.refused is None:
            raise SimulationError(f"a report was wrongly refused: {told}")
        own = self._model.environment(person.number, asked["environment"])
        if answer["has_secret"] != (own.name in own.account.consenting):
            raise SimulationError(f"secret and consent disagree: {told}")
        for week, identifier in answer["identifiers"]:
            if self._week_of.setdefault(identifier, week) != week:
                raise SimulationError(f"one identifier for two weeks: {told}")
            self._identifiers[week].add(identifier)
        self._gone.update(answer["gone"])

    def _compare_rows(self, seen: dict[str, Any], rows: dict[str, tuple[str | None, str]], told: str) -> None:
        if seen["channel"] != "pypi" or self._shown is None:
            return
        try:
            compared, updates = compare_rows(self._offers, seen, rows, self._shown)
        except SimulationError as error:
            raise SimulationError(f"{error}: {told}") from error
        self.report.rows += compared
        self.report.happened["updates shown to people"] += updates

    def _check_retention(self, at: datetime) -> None:
        """Check that no raw week is older than 60 days, and record sizes."""
        weeks = self._data.raw_weeks
        wait_until(lambda: all(monday_of(week) + RETENTION > at for week in weeks()), lambda: f"still there at {at}: {weeks()}")
        self.report.most_raw_rows = max(self.report.most_raw_rows, self._data.raw_rows())
        self.report.most_raw_bytes = max(self.report.most_raw_bytes, self._data.size_of("raw"))

    def _compare_stored(self) -> None:
        """Compare every raw report and the number of people with the model."""
        found: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
        people: dict[str, set[str]] = defaultdict(set)
        for week, rows in self._data.raw("SELECT identifier, level, schema_version, document FROM reports").items():
            for identifier, level, schema, document in rows:
                found[week].append((level, schema, ordered(json.loads(document))))
                people[week].add(identifier)
        for week, reports in found.items():
            expected = self._model.stored.get(week, {})
            wanted = [(level, 2 if "channel" in one else 1, ordered(document_of(one))) for level, one in expected.values()]
            if sorted(reports) != sorted(wanted) or len(people[week]) != len({key[:2] for key in expected}):
                extra = [one for one in reports if one not in wanted][:2], [one for one in wanted if one not in reports][:2]
                raise SimulationError(f"{week}: stored and expected reports differ, such as {extra}")

    def _check_deleted_identifiers(self) -> None:
        if self._gone and (left := self._gone & self._data.identifiers()):
            raise SimulationError(f"deleted, and still on disk: {sorted(left)[:3]}")
        self._gone.clear()

    def _quiet_week(self, at: datetime) -> None:
        self._start(at)
        self._check_retention(at)
        self._server.stop()

    def _compare_published(self) -> None:
        exported = self._data.export(self._later_release or ROOT)
        if set(exported) - set(CELLS) or set(CELLS) - set(exported) - {ENTRY}:
            raise SimulationError(f"the model and the catalogue have other entries: {sorted(set(exported) ^ set(CELLS))}")
        found = by_week(exported)
        for week, numbers in self._due.items():
            for entry, cells in numbers.items():
                public = found[week][entry]
                differ = {key: (cells.get(key), public.get(key)) for key in cells | public if cells.get(key) != public.get(key)}
                if differ:
                    raise SimulationError(f"{week}, {entry}: expected and found differ: {differ}")
                self.report.numbers_listed += len(cells)

    def _check_nothing_is_left(self) -> None:
        """Check that no raw data, past identifier or private name is left."""
        ever = set().union(*self._identifiers.values())
        self.report.identifiers = len(ever)
        if left := ever & self._data.identifiers():
            raise SimulationError(f"{len(left)} identifiers are still on disk, such as {sorted(left)[0]}")
        if named := self._data.files_with(PRIVATE_COMMAND, PRIVATE_PLUGIN):
            raise SimulationError(f"private names in {', '.join(named)}")
        self.report.aggregate_bytes = self._data.size_of("aggregate")
        self.report.log_bytes = self._data.log.stat().st_size
