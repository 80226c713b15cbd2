"""``napari-updates stats``: the numbers that a maintainer asks for, as a table, as JSON and as CSV."""

from __future__ import annotations

from typing import Any

import pytest
import respx

from tests.napari_telemetry.test_cli import run
from tests.support.client import SERVER

WEEKS = [f"2026-W{number}" for number in range(30, 41)]


@pytest.fixture(autouse=True)
def _server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_UPDATE_SERVER", SERVER)


def answer(rows: list[tuple[str, str, int]], **changes: Any) -> dict[str, Any]:
    """What the service says of a plugin by Python."""
    return {
        "entry": "plugins-by-python",
        "question": "With which Python versions is a plugin used?",
        "listed_from": 10,
        "rounded_down_to": 5,
        "weeks": WEEKS,
        "rows": [
            {"week": week, "values": {"plugin": "affinder", "python": python}, "people": people}
            for week, python, people in rows
        ],
        "retractions": [],
        "next": None,
    } | changes


ROWS = [("2026-W30", "3.9", 95), ("2026-W39", "3.11", 20), ("2026-W39", "3.12", 30), ("2026-W40", "3.12", 1235)]
COMMAND = ("stats", "Affinder", "--by", "python")


@respx.mock
def test_a_table_has_a_line_for_each_value_and_a_column_for_each_of_the_last_weeks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    route = respx.get(f"{SERVER}/api/stats/plugins/affinder").respond(json=answer(ROWS))
    told = run(capsys, monkeypatch, *COMMAND)
    assert told.code == 0
    assert route.calls[0].request.url.params["by"] == "python"
    lines = [line.split() for line in told.out.splitlines()]
    (of_312,) = [line for line in lines if "3.12" in line]
    (of_311,) = [line for line in lines if "3.11" in line]
    assert lines.index(of_312) < lines.index(of_311), "the largest of the last week first"
    assert [cell for cell in of_312 if cell[0] in "0123456789<"] == ["3.12", *["<10"] * 6, "30", "1,235"]
    assert "2026-W30" not in told.out
    assert "3.9" not in told.out.replace("2026-W39", "")
    assert "rounded down to a multiple of 5" in told.out


@respx.mock
def test_nothing_but_the_question_goes_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    route = respx.get(f"{SERVER}/api/stats/napari").respond(json=answer([]))
    run(capsys, monkeypatch, "stats", "--from", "2026-W39", "--to", "2026-W40")
    (call,) = route.calls
    assert dict(call.request.url.params) == {"from": "2026-W39", "to": "2026-W40", "limit": "10000"}
    assert not {"cookie", "referer", "authorization"} & set(call.request.headers)


@respx.mock
def test_all_pages_are_read_and_no_address_of_somebody_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{SERVER}/api/stats/plugins/affinder"
    second = answer(ROWS[2:], next="https://evil.example/api/stats/plugins/affinder?offset=4")
    first = answer(ROWS[:2], next="/api/stats/plugins/affinder?by=python&offset=2")
    respx.get(path, params={"offset": "2"}).respond(json=second)
    respx.get(path).respond(json=first)
    told = run(capsys, monkeypatch, *COMMAND, "--json")
    assert [row["people"] for row in told.json["rows"]] == [95, 20, 30, 1235]
