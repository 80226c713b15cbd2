from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from aggregation.stores.records import Records
from tests.aggregation.cli.conftest import Command
from tests.support.reports import WEEK, report

LATE = "2026-12-24T00:00:00"
REASON = "A forged plugin name was reported to us"


def test_purge_reports_how_much_it_deleted(command: Command) -> None:
    command.prepare(report(person, week=week) for person in range(6) for week in (WEEK, "2026-W50"))
    dry = command("purge", "--dry-run", "--now", LATE).output
    assert f"{WEEK}: 6 reports" in dry
    assert "would be deleted" in dry
    assert command.json("status", "--now", LATE, code=1)["raw_weeks"] == [WEEK, "2026-W50"]
    assert command.json("purge", "--dry-run", "--now", LATE)["weeks"] == {WEEK: 6}
    assert "6 raw reports" in command("purge", "--now", LATE).output
    assert command.json("status", "--now", LATE)["raw_weeks"] == ["2026-W50"]


def test_forget_reports_how_much_it_deleted(command: Command) -> None:
    command.prepare(report(person) for person in range(3))
    assert "1 report was deleted" in command("forget", report(1).identifier).output
    command("forget", "not-an-identifier", code=2)


def inspections(command: Command) -> list[tuple[str, int, str]]:
    found = command.on_stores(lambda _, aggregate: Records(aggregate.engine).inspections())
    return [(one.week, one.most, one.reason) for one in found]


def test_inspections_are_recorded_and_show_no_identifiers(command: Command) -> None:
    command.prepare(report(person) for person in range(12))
    shown = command.json("inspect", "--reason", REASON, "--limit", "3")
    assert len(shown) == 3
    assert shown[0]["report"]["plugins"] == [{"name": "affinder", "version": "0.5.0"}]
    assert not any(report(person).identifier in str(shown) for person in range(12))
    assert "environment" not in str(shown)
    command("inspect", "--reason", REASON + ", again", "--week", WEEK)
    assert inspections(command) == [(WEEK, 10, REASON + ", again"), (WEEK, 3, REASON)]


def test_reports_are_not_shown_if_the_inspection_cannot_be_recorded(command: Command, folder: Path) -> None:
    command.prepare(report(person) for person in range(12))
    with sqlite3.connect(folder / "aggregate.sqlite3") as database:
        database.execute("DROP TABLE inspections")
    result = command("inspect", "--reason", REASON, code=1)
    assert "affinder" not in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--reason", "because"], "at least 10 characters"),
        (["--reason", "x" * 501], "at most 500"),
        (["--reason", f"To look at {report(1).identifier.upper()} again"], "identifier"),
        (["--reason", f"To look at {'0000-' * 8} again"], "identifier"),
        (["--reason", REASON, "--week", "2026-W41"], f"Weeks with reports: {WEEK}"),
        (["--reason", REASON, "--week", "tomorrow"], "tomorrow"),
        (["--reason", REASON, "--limit", "5000"], "limit"),
        ([], "reason"),
    ],
)
def test_rejected_inspections_are_not_recorded(command: Command, arguments: list[str], says: str) -> None:
    command.prepare([report(1)])
    assert says in command("inspect", *arguments, code=2).output
    assert inspections(command) == []
