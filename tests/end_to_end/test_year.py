"""Some weeks of the simulated year; `make year` runs all of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.simulation.year import Year

pytestmark = [pytest.mark.slow, pytest.mark.real_index]


def test_some_weeks_of_a_year(tmp_path: Path) -> None:
    """No raw report or identifier is left."""
    replay = os.environ.get("NAPARI_INDEX_REPLAY")
    if replay is None:
        pytest.skip("needs the replay of the real plugin index: set NAPARI_INDEX_REPLAY to serve_upstream.py")
    report = Year(tmp_path, Path(replay), people=180, weeks=5, restless=4).live()
    assert report.sittings > 400
    assert report.reports > 200
    assert report.rows > 1500
    rules = {
        "the newest one",
        "needs another Python",
        "needs another napari",
        "withdrawn",
        "there are pre-releases alone",
        "nothing fits",
    }
    assert set(report.answers) == rules, "each rule decides some answers"
    assert report.numbers_listed > 80
    happened = json.loads(json.dumps(report.as_json()))["happened"]
    for what in (
        "consents given", "consents changed, or given anew for one field more", "consents withdrawn", "deletions",
        "times that the service was killed", "times that the service was away for a whole day",
        "weeks in which the upstream was away", "releases of the service with one field more",
    ):  # fmt: skip
        assert happened.get(what, 0) > 0, f"{what}: {happened}"
