from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest

from aggregation.catalogue import CATALOGUE
from tests.aggregation.cli.conftest import Command
from tests.support.reports import WEEK

REASON = "A script had forged reports"


def test_an_export_has_every_number_in_each_format(command: Command, tmp_path: Path) -> None:
    command.publish(W39=40, W40=25)
    command("retract", "people-by-system", "--from", "2026-W39", "--reason", REASON, "--yes")
    out = tmp_path / "export"
    command("export", str(out))
    package = json.loads((out / "datapackage.json").read_text())
    assert package["licenses"][0]["name"] == "CC0-1.0"
    described = {resource["path"]: resource for resource in package["resources"]}
    for entry in CATALOGUE:
        flat = [{"week": row.week, **row.values, "people": row.people} for row in command.numbers(entry.id)]
        as_json = json.loads((out / f"json/{entry.id}.json").read_text())
        as_csv = list(csv.DictReader((out / f"csv/{entry.id}.csv").open()))
        assert as_json == flat
        assert as_csv == [{name: str(value) for name, value in row.items()} for row in flat]
        for form in ("json", "csv"):
            resource = described[f"{form}/{entry.id}.{form}"]
            data = (out / resource["path"]).read_bytes()
            assert resource["hash"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
            assert [field["name"] for field in resource["schema"]["fields"]] == [
                "week", *(dimension.name for dimension in entry.dimensions), "people",
            ]  # fmt: skip
            assert all(field["description"] for field in resource["schema"]["fields"])
    (retraction,) = json.loads((out / "json/retractions.json").read_text())
    assert (retraction["entry"], retraction["reason"]) == ("people-by-system", REASON)
    assert [row["week"] for row in json.loads((out / "json/weeks.json").read_text())] == ["2026-W39", "2026-W40"]
    assert "rounded down" in (out / "README.md").read_text()


def test_an_export_may_use_one_format_and_needs_force_to_overwrite(command: Command, tmp_path: Path) -> None:
    command.publish(W40=25)
    out = tmp_path / "export"
    command("export", str(out), "--format", "csv")
    assert not (out / "json").exists()
    assert "--force" in command("export", str(out), code=2).output
    command("export", str(out), "--force")
    assert (out / "json").exists()


def test_a_retraction_removes_the_number_and_keeps_the_reason(command: Command) -> None:
    command.publish(W39=40, W40=25)
    asked = command("retract", "plugins-by-python", "--plugin", "affinder", "--from", WEEK, "--reason", REASON, code=2)
    assert "--yes" in asked.output
    assert len(command.numbers("plugins-by-python")) == 2
    removed = command.json("retract", "plugins-by-python", "--plugin", "affinder", "--from", WEEK, "--reason", REASON, "--yes")
    assert removed["removed"] == 1
    assert [row.week for row in command.numbers("plugins-by-python")] == ["2026-W39"]
    assert [one.reason for one in command.retractions()] == [REASON]
    assert len(command.numbers("plugins")) == 2


def test_a_plugin_can_be_retracted_as_a_whole(command: Command) -> None:
    command.publish(W39=40, W40=25)
    removed = command.json("retract", "--plugin", "AFFINDER", "--from", "2026-W39", "--to", WEEK, "--reason", REASON, "--yes")
    assert removed["entries"] == [entry.id for entry in CATALOGUE if entry.topic == "plugins"]
    for entry in removed["entries"]:
        assert command.numbers(entry) == []


def test_only_published_weeks_are_retracted(command: Command) -> None:
    """A week published later must not look retracted."""
    command.publish(W37=40, W38=30, W40=25)
    command("retract", "people", "--from", "2026-W37", "--to", WEEK, "--reason", REASON, "--yes")
    command.publish(W39=33)
    assert [(one.first_week, one.last_week) for one in command.retractions()] == [("2026-W37", "2026-W38"), (WEEK, WEEK)]
    assert [(row.week, row.people) for row in command.numbers("people")] == [("2026-W39", 30)]


def test_a_retraction_skips_weeks_without_listed_numbers(command: Command) -> None:
    """Such a retraction would distinguish a week of nine people from an empty week."""
    command.publish(W38=40, W39=9, W40=25)
    command("retract", "people", "--from", "2026-W38", "--to", WEEK, "--reason", REASON, "--yes")
    assert command.on_stores(lambda _, aggregate: aggregate.public_weeks()) == ["2026-W38", WEEK]
    assert [(one.first_week, one.last_week) for one in command.retractions()] == [("2026-W38", "2026-W38"), (WEEK, WEEK)]


def test_a_forced_export_removes_older_files(command: Command, tmp_path: Path) -> None:
    command.publish(W40=25)
    command("export", str(tmp_path / "export"))
    command("retract", "people", "--from", WEEK, "--reason", REASON, "--yes")
    told = command.json("export", str(tmp_path / "export"), "--force", "--format", "csv")
    assert told["folder"] == str(tmp_path / "export")
    assert list((tmp_path / "export" / "json").iterdir()) == []


def test_one_value_can_be_retracted(command: Command) -> None:
    command.publish(W40=25)
    command("retract", "people-by-python", "--where", "python=3.11", "--from", WEEK, "--reason", REASON, "--yes")
    assert [one.of for one in command.retractions()] == [{"python": "3.11"}]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["people", "--from", WEEK, "--reason", "no"], "at least 10 characters"),
        (["people", "--reason", REASON], "--from"),
        (["--from", WEEK, "--reason", REASON], "--plugin"),
        (["peeple", "--from", WEEK, "--reason", REASON], "Did you mean people"),
        (["people", "--from", "2026-W20", "--reason", REASON], "no published number"),
        (["people", "--from", WEEK, "--to", "2026-W30", "--reason", REASON], "swap --from and --to"),
        (["people", "--from", WEEK, "--to", "2027-W30", "--reason", REASON], "not published yet"),
        (["people", "--from", WEEK, "--where", "python=3.11", "--reason", REASON], "Dimensions of people: none"),
        (["plugins", "--from", WEEK, "--plugin", "unknown", "--reason", REASON], "no public numbers of 'unknown'"),
        (["--plugin", "unknown", "--from", WEEK, "--reason", REASON], "no published number"),
    ],
)
def test_an_invalid_retraction_changes_nothing(command: Command, arguments: list[str], says: str) -> None:
    command.publish(W40=25)
    assert says in command("retract", *arguments, "--yes", code=2).output
    assert command.retractions() == []
    assert len(command.numbers("people")) == 1
