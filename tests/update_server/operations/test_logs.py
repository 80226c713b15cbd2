from __future__ import annotations

import json

import pytest
import structlog

from update_server.operations import logs


@pytest.fixture(autouse=True)
def _reset() -> object:
    yield
    structlog.reset_defaults()


def test_logs_are_json_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("auto", "info")
    structlog.get_logger().info("week_published", week="2026-W40")
    structlog.get_logger().debug("not shown")
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert (event["event"], event["week"], event["level"]) == ("week_published", "2026-W40", "info")


def test_text_format_writes_readable_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("text", "info")
    structlog.get_logger().info("week_published", week="2026-W40")
    assert "week_published" in capsys.readouterr().err
