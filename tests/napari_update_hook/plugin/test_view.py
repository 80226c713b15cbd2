"""What is shown of a snapshot: tables of states and words."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from napari_update_hook.plugin.questions import questions_of
from napari_update_hook.plugin.snapshot import Snapshot, Task
from napari_update_hook.plugin.texts import counted, tr
from napari_update_hook.plugin.view import (
    cells_of,
    copies_text,
    forgotten_text,
    ids_text,
    indicator_of,
    mark_of,
    notice_text,
    sent_text,
    shown_rows,
    telemetry_facts,
    updates_summary,
)
from napari_update_hook.settings import SiteRules
from napari_update_hook.standing import client_status
from napari_update_hook.updates import Status, UpdateRow
from napari_update_hook.wire import Level

from tests.support.client import NOON, Machine


def snapshot_of(machine: Machine, **fields: Any) -> Snapshot:
    status = client_status(machine.settings, machine.store, machine.client.telemetry, None)
    return Snapshot(status=status, **fields)


def shown(snapshot: Snapshot) -> str:
    indicator = indicator_of(snapshot)
    assert indicator is not None
    return indicator.text


def result(*rows: UpdateRow, notice: str | None = None) -> Any:
    return SimpleNamespace(
        rows=list(rows), notice=notice, fetched_at=NOON, server="https://updates.example", index_version="2026-11-18T08:00:00Z"
    )


UPDATE = UpdateRow("affinder", "0.4.0", "0.5.0", "0.5.0", Status.UPDATE, command="pip install affinder==0.5.0")
WAITS = UpdateRow("napari-harpy", "0.1.2", None, "0.1.3", Status.UP_TO_DATE, "0.1.3 needs Python >=3.12; this is 3.10")
UNSAFE = UpdateRow("bad", "1.0", "1.1", "1.1", Status.UPDATE, "1.0 was withdrawn by its authors", withdrawn="broken")
CURRENT = UpdateRow("current", "1.0", "1.0", "1.0", Status.UP_TO_DATE)


def test_nothing_is_shown_before_anything_is_known() -> None:
    assert indicator_of(Snapshot()) is None


def test_the_states_of_telemetry(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert shown(snapshot_of(machine)) == "telemetry: waiting for your answer"
    machine.consent(Level.NONE)
    assert shown(snapshot_of(machine)) == "telemetry: off"
    machine.consent(Level.BASIC, timedelta(days=90))
    assert shown(snapshot_of(machine)) == "telemetry: basic"
    assert shown(snapshot_of(machine, is_sending=True)) == "telemetry: basic, sending"
    machine.clock.forward(days=91)
    assert shown(snapshot_of(machine)) == "telemetry: waiting for your answer"


def test_after_three_askings_nobody_is_waited_for(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for _ in range(3):
        machine.store.consents.note_asking(machine.clock())
        machine.clock.forward(days=31)
    assert shown(snapshot_of(machine)) == "telemetry: off"


@pytest.mark.parametrize(
    ("environ", "site", "who"),
    [
        ({"NAPARI_TELEMETRY": "0"}, SiteRules(), "NAPARI_TELEMETRY"),
        ({"DO_NOT_TRACK": "1"}, SiteRules(), "DO_NOT_TRACK"),
        ({"CI": "true"}, SiteRules(), "CI"),
        ({}, SiteRules(telemetry=False, sources=("/etc/site.json",)), "the administrator"),
        ({}, SiteRules(damaged=("/etc/site.json",)), "the administrator's file"),
    ],
)
def test_whoever_blocks_is_named(tmp_path: Path, environ: dict[str, str], site: SiteRules, who: str) -> None:
    machine = Machine(tmp_path, environ=environ, site=site)
    machine.consent(Level.FULL)
    assert shown(snapshot_of(machine)) == f"telemetry: blocked by {who}"


def test_an_administrators_maximum_is_what_is_in_force(tmp_path: Path) -> None:
    machine = Machine(tmp_path, site=SiteRules(maximum_level=Level.BASIC, sources=("/etc/site.json",)))
    machine.consent(Level.FULL)
    snapshot = snapshot_of(machine)
    assert shown(snapshot) == "telemetry: basic"
    assert "allows level basic at most" in dict(telemetry_facts(snapshot))["Now"]


def test_updates_are_counted_beside_it(tmp_path: Path) -> None:
    snapshot = snapshot_of(Machine(tmp_path), result=result(UPDATE, UNSAFE, WAITS))
    assert shown(snapshot).startswith("2 updates \N{MIDDLE DOT} telemetry: ")


def test_what_needs_attention_stands_first_and_is_marked() -> None:
    rows = shown_rows(Snapshot(result=result(CURRENT, WAITS, UPDATE, UNSAFE)))
    assert [(row.name, mark_of(row)) for row in rows] == [
        ("affinder", "update"), ("bad", "unsafe"), ("current", ""), ("napari-harpy", ""),
    ]  # fmt: skip
    assert cells_of(WAITS) == ("napari-harpy", "0.1.2", "\N{EN DASH}", "0.1.3", "0.1.3 needs Python >=3.12; this is 3.10")


def test_the_sentence_above_the_table(tmp_path: Path) -> None:
    snapshot = snapshot_of(Machine(tmp_path))
    assert updates_summary(snapshot) == "Nothing is known yet. Press Check now to ask."
    assert updates_summary(changed(snapshot, busy=frozenset({Task.CHECK}))) == "Asking for updates…"
    assert updates_summary(changed(snapshot, failures={Task.CHECK: "No network."})) == "No network."
    told = updates_summary(changed(snapshot, result=result(UPDATE)))
    assert told == "There is 1 update. Checked 2026-11-18 12:00 UTC at https://updates.example."
    old = result(UPDATE, notice="No network. This is the answer of yesterday.")
    assert updates_summary(changed(snapshot, result=old)).endswith("This is the answer of yesterday.")
    off = snapshot_of(Machine(tmp_path, environ={"NAPARI_UPDATE_CHECK": "0"}))
    assert updates_summary(off) == "The update check is off: NAPARI_UPDATE_CHECK=0 is set."
    assert updates_summary(Snapshot(problem="A bad address.")) == "A bad address."


def changed(snapshot: Snapshot, **changes: Any) -> Snapshot:
    from dataclasses import replace

    return replace(snapshot, **changes)


def test_a_notice_names_no_more_than_fit() -> None:
    assert notice_text([("affinder", "0.5.0")]) == "1 update fits your Python: affinder 0.5.0"
    many = [(f"p{number}", "1.0") for number in range(6)]
    assert notice_text(many) == "6 updates fit your Python: p0 1.0, p1 1.0, p2 1.0, p3 1.0 and 2 more"


def test_empty_pages_say_so() -> None:
    empty = Snapshot()
    assert sent_text(empty) == "Nothing was sent from this environment in the last 60 days."
    assert copies_text(empty) == "Not asked yet."
    assert copies_text(Snapshot(copies=())).startswith("No server can hold anything of you")
    assert ids_text(empty).startswith("You have none")
    assert forgotten_text(empty) == ""
    assert telemetry_facts(empty) == []


def test_levels_say_which_questions_they_answer() -> None:
    assert "How many people use napari?" in questions_of("basic")
    assert questions_of("middle")
    assert questions_of("full")
    assert questions_of("none") == []


@pytest.mark.parametrize("fills_in", [True, False], ids=["napari 0.7", "napari 0.9"])
def test_texts_go_through_napari_s_translator(monkeypatch: pytest.MonkeyPatch, fills_in: bool) -> None:
    def translate(text: str, n: int | None = None, **values: object) -> str:
        return text.replace("Nothing", "Nichts").format(n=n, **values) if fills_in else text

    translations = SimpleNamespace(trans=SimpleNamespace(_=translate))
    monkeypatch.setitem(sys.modules, "napari.utils.translations", translations)
    nothing = "Nichts" if fills_in else "Nothing"
    assert tr("Nothing at {place}", place="home {here}") == f"{nothing} at home {{here}}"
    assert tr("Nothing.") == f"{nothing}."
    assert counted(1, "{n} update", "{n} updates") == "1 update"
    assert counted(2, "{n} update", "{n} updates") == "2 updates"


def test_an_ended_consent_and_a_day_are_said(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.consent(Level.MIDDLE, timedelta(days=1))
    facts = dict(telemetry_facts(snapshot_of(machine)))
    assert facts["Your answer"] == "middle, until 2026-11-19"
    assert facts["Given"] == "2026-11-18 12:00 UTC by test"
    assert facts["Last report"] == "never"
