"""systemd accepts the unit, rates it as hardened, and keeps its logs for 14 days."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "systemd"
UNIT = FOLDER / "napari-updates.service"


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """A copy of the unit with a program that exists on this machine."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text("utf-8").replace("/opt/napari-updates/bin/update-server", sys.executable), "utf-8")
    return copy


def test_systemd_accepts_the_unit(unit: Path) -> None:
    told = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert unit.name not in told.stderr, told.stderr


@pytest.mark.parametrize("name", ["napari-updates-backup.service", "napari-updates-backup.timer"])
def test_systemd_accepts_the_backup_units(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    for file in FOLDER.glob("napari-updates-backup.*"):
        (tmp_path / file.name).write_text(file.read_text("utf-8"), "utf-8")
    told = subprocess.run(["systemd-analyze", "verify", str(tmp_path / name)], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "napari-updates-backup" not in told.stderr, told.stderr


def test_the_unit_is_hardened(unit: Path) -> None:
    """The exposure level, close to 10 for a plain unit, is at most 2."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-600:] + told.stderr


def test_the_admin_script_uses_the_services_user_and_settings(tmp_path: Path) -> None:
    """JSON in the settings file is quoted for both systemd and the shell."""
    user = re.search(r"^User=(.+)$", UNIT.read_text("utf-8"), re.MULTILINE)
    script = (FOLDER / "napari-updates-admin").read_text("utf-8")
    assert user
    assert f"runuser -u {user[1]} -- " in script
    settings = tmp_path / "settings"
    settings.write_text("""UPDATE_SERVER_LEVEL_HOSTS='{"basic": "basic.example.org"}'\nUPDATE_SERVER_PORT=8123\n""", "utf-8")
    copy = tmp_path / "admin"
    copy.write_text(script.replace(f"runuser -u {user[1]} -- ", "").replace("cd /\n", f"cd {ROOT}\n"), "utf-8")
    code = "import os, sys; sys.stdout.write(os.environ['UPDATE_SERVER_LEVEL_HOSTS'] + os.environ['UPDATE_SERVER_DATA'])"
    (tmp_path / "probe.py").write_text(code, "utf-8")
    environment = os.environ | {
        "NAPARI_UPDATES_SETTINGS": str(settings), "NAPARI_UPDATES_PYTHON": sys.executable, "PYTHONPATH": str(tmp_path),
    }  # fmt: skip
    told = subprocess.run(["sh", str(copy), "probe"], env=environment, capture_output=True, text=True, check=False)
    assert told.stdout == '{"basic": "basic.example.org"}/var/lib/napari-updates', told.stderr


@pytest.mark.promise("no-address-in-logs")
def test_the_unit_keeps_logs_for_14_days_and_has_its_own_folder() -> None:
    text = UNIT.read_text("utf-8")
    namespace = text.split("LogNamespace=")[1].split()[0]
    journal = configparser.ConfigParser()
    journal.read(FOLDER / f"journald@{namespace}.conf")
    assert journal["Journal"]["MaxRetentionSec"] == "14day"
    assert "StateDirectory=napari-updates" in text
    assert f"LogNamespace={namespace}\n" in (FOLDER / "caddy-logs.conf").read_text("utf-8"), "the proxy logs there, too"
    assert "UPDATE_SERVER_DATA=%S/napari-updates" in text
