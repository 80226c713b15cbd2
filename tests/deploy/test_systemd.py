"""The unit for one machine: systemd reads it, finds it hardened, and keeps its logs for 14 days."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = FOLDER / "napari-updates.service"


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that is here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text("utf-8").replace("/opt/napari-updates/bin/update-server", sys.executable), "utf-8")
    return copy


def test_systemd_can_read_it(unit: Path) -> None:
    told = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert unit.name not in told.stderr, told.stderr


def test_it_is_hardened(unit: Path) -> None:
    """An exposure of 10 is a plain unit; systemd calls below 5 medium, and below 2 safe."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-600:] + told.stderr


def test_its_logs_are_kept_for_14_days_and_its_data_are_its_own() -> None:
    text = UNIT.read_text("utf-8")
    namespace = text.split("LogNamespace=")[1].split()[0]
    journal = configparser.ConfigParser()
    journal.read(FOLDER / f"journald@{namespace}.conf")
    assert journal["Journal"]["MaxRetentionSec"] == "14day"
    assert "StateDirectory=napari-updates" in text
    assert f"LogNamespace={namespace}\n" in (FOLDER / "caddy-logs.conf").read_text("utf-8"), "the proxy's log lies there too"
    assert "UPDATE_SERVER_DATA=%S/napari-updates" in text
