"""Three processes share a state file: any order of events is checked against a model of people's answers.

Processes advance request by request, lose requests and answers, and are killed.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from napari_telemetry.environment import environment_pseudonym
from napari_telemetry.records import Counts
from napari_telemetry.report import round_down
from napari_telemetry.settings import Maximum, lowest
from napari_telemetry.store import SENDING_TIMEOUT
from napari_telemetry.transport import Request
from napari_telemetry.weeks import is_open, week_of
from napari_telemetry.wire import Level
from napari_update_hook import seam
from napari_update_hook.errors import ServerUnreachableError

from tests.support.client import ALLOWED, SERVER, Clock, Machine

EVENT = "affinder.start"
WHO = st.integers(0, 2)
OUTCOMES = st.sampled_from(["arrives", "arrives", "request is lost", "answer is lost"])
EXAMPLES, STEPS = (300, 60) if os.environ.get("TEST_ALL") else (40, 40)


@dataclass
class ExpectedState:
    """Model of an environment. ``counts``: how often the event occurred, by week."""

    level: Level = Level.NONE
    until: Any = None
    counts: Counter[str] = field(default_factory=Counter)


class Processes(RuleBasedStateMachine):
    """Two processes of one environment, and one of another environment of the account."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.machines = [Machine(self.folder, name=name, clock=self.clock) for name in ("here", "here", "there")]
        for machine in self.machines:
            machine.note_check()
        self.said = {"here": ExpectedState(), "there": ExpectedState()}
        self.forgotten: set[str] = set()
        self.running: dict[int, tuple[Any, Request]] = {}
        self.stored: dict[str, dict[str, dict[str, Any]]] = {}
        """Reports on the server, by identifier and environment."""
        self.unwanted: set[tuple[str, str, int]] = set()
        """Reports in transit when consent ended."""
        self.left: set[tuple[str, str, int]] = set()

    def teardown(self) -> None:
        self.finish_everything()
        for machine in self.machines:
            machine.store.close()
        shutil.rmtree(self.folder)

    # People

    @initialize(level=st.sampled_from([Level.BASIC, Level.FULL]), prepared=st.sets(WHO))
    def agree_initially(self, level: Level, prepared: set[int]) -> None:
        """Give consent first, so that most examples have races."""
        for who in (0, 2):
            self.agree(who, level, None)
        for who in sorted(prepared):
            self.check(who)

    @rule(who=WHO, level=st.sampled_from([Level.BASIC, Level.MIDDLE, Level.FULL]), lasts=st.sampled_from([None, 2]))
    def agree(self, who: int, level: Level, lasts: int | None) -> None:
        from datetime import timedelta

        machine, said = self.machines[who], self.said[self.machines[who].name]
        was_in_effect = self.effective(said) is not Level.NONE
        lasting = timedelta(days=lasts) if lasts else None
        machine.client.set_consent(level, lasting=lasting, means="test")
        if not was_in_effect:
            said.counts.clear()
            self.note_unwanted(machine.name)
        elif level is not Level.FULL:
            said.counts.clear()
        said.level, said.until = level, self.clock.now + lasting if lasting else None

    @rule(who=WHO)
    def refuse(self, who: int) -> None:
        machine = self.machines[who]
        machine.client.set_consent(Level.NONE, means="test")
        self.said[machine.name] = ExpectedState()
        self.note_unwanted(machine.name)

    @rule(who=WHO, level=st.sampled_from([Level.NONE, Level.BASIC, Level.MIDDLE]))
    def lower_in_preferences(self, who: int, level: Level) -> None:
        """Lower the maximum, then restore the default, which must not raise the level."""
        machine = self.machines[who]
        said = self.said[machine.name]
        if who in self.running or not seam.may_send(machine.state) or self.effective(said).includes(level) is False:
            return
        machine.maximum = Maximum(level, is_chosen=True)
        if level is Level.NONE:
            self.said[machine.name] = ExpectedState()
            self.note_unwanted(machine.name)
        elif said.level is not level:
            said.level = level
            said.counts.clear()
        self.check(who)
        machine.maximum = Maximum()

    @rule(who=WHO, level=st.sampled_from([Level.BASIC, Level.FULL]))
    def refuse_and_agree_again(self, who: int, level: Level) -> None:
        self.refuse(who)
        self.agree(who, level, None)

    @rule(who=WHO, rarely=st.integers(0, 3))
    def forget(self, who: int, rarely: int) -> None:
        if who in self.running or rarely:
            return
        drafts = {draft.week for machine in self.machines for draft in machine.view.drafts}
        self.forgotten |= {week_of(self.clock.now), *drafts, *(json.loads(key)[0] for key in self.weeks_sent())}
        for said in self.said.values():
            said.counts.clear()
        self.advance(who, self.machines[who].client.forget(), None)

    @rule(who=WHO, number=st.integers(1, 12))
    def use(self, who: int, number: int) -> None:
        machine, said, week = self.machines[who], self.said[self.machines[who].name], week_of(self.clock.now)
        consent = machine.view.consent
        if consent is None:
            return
        machine.client.add_counts(consent.number, {week: Counts({EVENT: number})})
        if self.effective(said) is Level.FULL and week not in self.forgotten:
            said.counts[week] += number

    # Processes

    @rule(who=WHO, outcome=OUTCOMES)
    def advance_process(self, who: int, outcome: str) -> None:
        if who in self.running:
            self.network(who, outcome)
        else:
            self.check(who)

    @rule(who=WHO)
    def begin_to_send(self, who: int) -> None:
        """Advance until a report is in transit."""
        for _ in range(2):
            if who not in self.running or "/api/updates/" not in self.running[who][1].url:
                self.advance_process(who, "arrives")

    @rule(who=WHO)
    def prepare_to_send(self, who: int) -> None:
        if who not in self.running:
            self.check(who)

    @rule(who=WHO, event=st.integers(0, 6), lasts=st.sampled_from([None, 2]))
    def event_before_sending(self, who: int, event: int, lasts: int | None) -> None:
        """Trigger an event that may forbid a prepared report."""
        other = {0: 1, 1: 0, 2: 2}[who]  # of the same environment, if any
        if self.running:
            return
        if lasts:
            self.agree(who, Level.FULL, lasts)
        self.prepare_to_send(who)
        events: list[Callable[[], None]] = [
            lambda: self.forget((who + 1) % 3, 0),
            lambda: self.refuse(other),
            lambda: self.refuse_and_agree_again(other, Level.FULL),
            lambda: self.agree(other, Level.BASIC, None),
            lambda: self.lower_in_preferences(other, Level.BASIC),
            lambda: self.begin_to_send(other),
            lambda: self.time_passes(24 * 30),
        ]
        events[event]()
        if lasts:
            self.time_passes(27)
            self.time_passes(27)
        self.advance_process(who, "arrives")

    def check(self, who: int) -> None:
        """Begin a check if the seam file allows it, as if after a day and a Python update."""
        machine = self.machines[who]
        python = "3.11.0" if machine.environment.python == "3.10.2" else "3.10.2"
        machine.environment = replace(machine.environment, python=python)
        if seam.may_send(machine.state):
            with machine.store._write() as file:
                file.execute("DELETE FROM backoffs")
            self.advance(who, machine.client.send_steps(), None)

    def network(self, who: int, outcome: str) -> None:
        if who in self.running:
            steps, request = self.running.pop(who)
            answer = self.serve(request) if outcome != "request is lost" else b""
            self.advance(who, steps, answer if outcome == "arrives" else ServerUnreachableError("no answer"))

    @rule(who=WHO, arrives=st.booleans())
    def kill(self, who: int, arrives: bool) -> None:
        if who in self.running:
            steps, request = self.running.pop(who)
            if arrives:
                self.serve(request)
            steps.close()
        self.machines[who].store.close()

    @rule(hours=st.sampled_from([0.02, 1, 27, 24 * 7, 24 * 7, 24 * 30, -5, -24 * 8]))
    def time_passes(self, hours: float) -> None:
        """Advance the clock. Requests end within two minutes; a process between requests may be suspended."""
        for who in list(self.running):
            while who in self.running and self.running[who][1].method == "POST":
                self.network(who, "answer is lost")
        if hours > 24 * 8 or hours < 0:  # weeks close or repeat
            for said in self.said.values():
                said.counts = Counter()
                said.is_unknown = True  # type: ignore[attr-defined]
        self.clock.forward(hours=hours)

    # The server, and the invariants

    def serve(self, request: Request) -> bytes:
        path = request.url.removeprefix(SERVER)
        if path.startswith("/api/telemetry/allowed"):
            return json.dumps(ALLOWED).encode()
        body = json.loads(request.body)
        if path == "/api/reports/delete":
            return json.dumps({"deleted": len(self.stored.pop(body["identifier"], {}))}).encode()
        report = body["report"]
        held = self.stored.setdefault(report["identifier"], {})
        if held.get(report["environment"], {"revision": 0})["revision"] < report["revision"]:
            held[report["environment"]] = report
        return json.dumps({"receipt": {"stored": True, "revision": report["revision"]}}).encode()

    def advance(self, who: int, steps: Any, answer: Any) -> None:
        machine = self.machines[who]
        while True:
            try:
                request = steps.send(answer)
            except StopIteration:
                return
            if "/api/updates/" in request.url:
                self.check_outgoing_report(machine, json.loads(request.body))
            self.running[who] = (steps, request)
            return

    def check_outgoing_report(self, machine: Machine, batch: dict[str, Any]) -> None:
        report, said = batch["report"], self.said[machine.name]
        level = Level(batch["consent"]["level"])
        assert self.effective(said).includes(level), "no report is sent after a recorded refusal"
        assert is_open(report["week"], self.clock.now), "no report of a closed week is sent"
        assert report["week"] not in self.forgotten, "no report of a forgotten week is sent"
        key = (report["identifier"], report["environment"], report["revision"])
        assert key not in self.left, "each revision is sent once"
        self.left.add(key)
        secrets = machine.view.secrets
        assert secrets is not None
        assert report["environment"] == environment_pseudonym(secrets[1], report["week"]), (
            "nothing from before the consent is sent"
        )
        others = [request for one, (_, request) in self.running.items() if self.machines[one].name == machine.name]
        pending = [json.loads(one.body)["report"]["week"] for one in others if "/api/updates/" in one.url]
        assert report["week"] not in pending, "no other process is sending it"
        assert any(json.loads(one.request) == batch for one in machine.view.sent), "every sent report is recorded"
        if not hasattr(said, "is_unknown"):
            counted = report.get("command_usage", {}).get(EVENT, 0)
            most = said.counts[report["week"]]
            assert counted <= (round_down(most) if most else 0), "no counts from before a consent, and none twice"

    def finish_everything(self) -> None:
        """Finish all requests; afterwards, every deletion is done."""
        for who in list(self.running):
            while who in self.running:
                self.network(who, "answer is lost")
        self.time_passes(SENDING_TIMEOUT.total_seconds() / 3600)
        for _ in range(3):
            for who in range(3):
                if who not in self.running:
                    self.check(who)
                while who in self.running:
                    self.network(who, "arrives")
        held = {
            (name, environment, report["revision"]) for name, by in self.stored.items() for environment, report in by.items()
        }
        assert not held & self.unwanted, "pending deletions are sent, even without consent"
        assert not {report["week"] for by in self.stored.values() for report in by.values()} & self.forgotten

    def effective(self, said: ExpectedState) -> Level:
        has_ended = said.until is not None and self.clock.now >= said.until
        return Level.NONE if has_ended else lowest(said.level, Level.FULL)

    def note_unwanted(self, name: str) -> None:
        """Note the reports in transit, which may arrive after consent ended."""
        for who, (_, request) in self.running.items():
            if self.machines[who].name == name and "/api/updates/" in request.url:
                report = json.loads(request.body)["report"]
                self.unwanted.add((report["identifier"], report["environment"], report["revision"]))

    def weeks_sent(self) -> set[str]:
        return {json.dumps([one.week]) for machine in self.machines for one in machine.view.identifiers}


@pytest.mark.promise("nothing-without-consent")
@pytest.mark.promise("nothing-from-before")
@pytest.mark.promise("off-in-napari")
def test_no_order_of_events_sends_a_forbidden_report() -> None:
    profile = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
    run_state_machine_as_test(Processes, settings=profile)


@pytest.mark.parametrize("lasts", [None, 2])
@pytest.mark.parametrize("event", range(7))
@pytest.mark.parametrize("who", range(3))
def test_every_single_event_keeps_the_invariants(who: int, event: int, lasts: int | None) -> None:
    """Run each event by itself, deterministically."""
    processes = Processes()
    processes.agree_initially(Level.FULL, set())
    processes.event_before_sending(who, event, lasts)
    processes.teardown()
