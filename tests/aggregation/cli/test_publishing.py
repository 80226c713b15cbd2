from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

from tests.aggregation.cli.conftest import LATER, Command
from tests.support.reports import WEEK, report


def test_run_publishes_due_weeks(command: Command) -> None:
    command.prepare(report(person) for person in range(25))
    (publication,) = command.json("run", "--now", LATER)
    assert publication | {"cells": 0} == {
        "week": WEEK, "outcome": "published", "cells": 0, "reports": 25, "left_out": 0, "possible_from": None,
    }  # fmt: skip
    assert "already published" in command("run", "--week", WEEK, "--now", LATER).output
    assert "Nothing to do" in command("run", "--now", LATER).output


def test_since_limits_the_run_to_later_due_weeks(command: Command) -> None:
    command.prepare(report(person, week=week) for person in range(12) for week in ("2026-W38", "2026-W39", "2026-W40"))
    publications = command.json("run", "--since", "2026-W39", "--now", LATER)
    assert [publication["week"] for publication in publications] == ["2026-W39", "2026-W40"]
    assert command.json("status", "--now", LATER)["due"] == ["2026-W38"]


def test_status_shows_published_and_overdue_weeks(command: Command) -> None:
    command.prepare(report(person) for person in range(12))
    told = command.json("status", "--now", "2026-12-24T00:00:00", code=1)
    assert (told["raw_weeks"], told["published_weeks"], told["overdue_for_deletion"]) == ([WEEK], [], [WEEK])
    assert "older than 60 days" in told["broken_promises"][0]
    command("purge", "--now", "2026-12-24T00:00:00")
    assert WEEK not in command("status", "--now", "2026-12-24T00:00:00").output


def test_concurrent_runs_publish_only_once(command: Command, folder: Path) -> None:
    command.prepare(report(person) for person in range(40))
    run = [sys.executable, "-m", "aggregation", "run", "--now", LATER]
    processes = [subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert sum("is published:" in output for output in outputs) == 1
    assert sum("Nothing to do" in output for output in outputs) == 2
    with sqlite3.connect(folder / "aggregate.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM aggregation_runs").fetchone() == (1,)
