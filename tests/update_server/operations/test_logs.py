from __future__ import annotations

import json

import pytest
import structlog

from update_server.operations import logs


@pytest.fixture(autouse=True)
def _reset() -> object:
    yield
    structlog.reset_defaults()


def test_elsewhere_than_on_a_terminal_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("auto", "info")
    structlog.get_logger().info("week_published", week="2026-W40")
    structlog.get_logger().debug("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["week"], event["level"]) == ("week_published", "2026-W40", "info")


def test_as_text_a_line_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "info")
    structlog.get_logger().info("week_published", week="2026-W40")
    assert "week_published" in capsys.readouterr().err
