"""A few weeks of the simulated year; `make year` runs the whole year."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.simulation.year import Year

pytestmark = [pytest.mark.slow, pytest.mark.real_index]


def test_simulated_weeks_match_the_model(tmp_path: Path) -> None:
    """Simulate five weeks; the simulation itself checks that no raw report or identifier is left."""
    replay = os.environ.get("NAPARI_INDEX_REPLAY")
    if replay is None:
        pytest.skip("needs the replay of the real plugin index: set NAPARI_INDEX_REPLAY to serve_upstream.py")
    report = Year(tmp_path, Path(replay), people=180, weeks=5, restless=4).live()
    assert report.sessions > 400
    assert report.reports > 200
    assert report.rows > 1500
    rules = {
        "newest",
        "needs another Python",
        "needs another napari",
        "withdrawn",
        "only pre-releases exist",
        "nothing fits",
    }
    assert set(report.answers) == rules, "each rule must decide some answers"
    assert report.numbers_listed > 80
    happened = json.loads(json.dumps(report.as_json()))["happened"]
    for what in (
        "consents given", "consents changed, or renewed for an added field", "consents withdrawn", "deletions",
        "service kills", "days without the service",
        "weeks without upstream", "service releases with one more field",
    ):  # fmt: skip
        assert happened.get(what, 0) > 0, f"{what}: {happened}"
