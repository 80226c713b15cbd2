"""State files with concurrent writers, and settings."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from napari_update_hook.errors import SettingsError
from napari_update_hook.settings import (
    DEFAULT_SERVER,
    SiteRules,
    checked_server,
    fixed_site_file,
    read_site_rules,
    settings_from,
    state_folder,
)
from napari_update_hook.state import Snooze, State

NOW = datetime(2026, 11, 18, 12, tzinfo=timezone.utc)
WRITER_SCRIPT = """
import sys
from pathlib import Path
from napari_update_hook.state import Snooze, State
state = State(Path(sys.argv[1]), "here")
for number in range(40):
    state.snooze(Snooze(f"{sys.argv[2]}-{number}", "1.0"))
    state.write_check(state.read_check())
"""


def test_concurrent_processes_lose_no_snooze(tmp_path: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", WRITER_SCRIPT, str(tmp_path), name]) for name in ("a", "b", "c")]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    assert len(State(tmp_path, "here").snoozes()) == 120


def test_snoozes_survive_a_round_trip(tmp_path: Path) -> None:
    state = State(tmp_path, "here")
    said = [Snooze("affinder", "*"), Snooze("affinder", "1!0.5.0", NOW), Snooze("other", "2.0")]
    for one in said:
        state.snooze(one)
    assert state.snoozes() == said
    assert state.unsnooze("affinder") == 2
    assert state.snoozes() == [Snooze("other", "2.0")]
    assert not list(tmp_path.rglob("*.new"))


def test_the_newest_restore_points_are_kept(tmp_path: Path) -> None:
    state = State(tmp_path, "here")
    for day in range(1, 9):
        state.add_restore_point({"at": NOW.replace(day=day).isoformat(), "packages": {}})
    assert [point["at"][8:10] for point in state.restore_points()] == ["08", "07", "06", "05", "04"]


def test_a_damaged_restore_point_is_skipped(tmp_path: Path) -> None:
    state = State(tmp_path, "here")
    state.add_restore_point({"at": NOW.isoformat()})
    assert state.restore_points() == []


def test_without_a_home_folder_there_is_no_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    def no_home(*_: object, **__: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(platformdirs, "user_data_path", no_home)
    assert state_folder({}) is None
    assert state_folder({"NAPARI_UPDATE_STATE": "/tmp/x"}) == Path("/tmp/x")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://Updates.example/", "https://Updates.example"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("file:///srv/index/", "file:///srv/index"),
    ],
)
def test_server_addresses_are_normalized(url: str, kept: str) -> None:
    assert checked_server(url) == kept


@pytest.mark.parametrize(
    "url",
    ["http://updates.example", "http://127.example.org", "ftp://x", "nonsense", "https://me@x", "https://x?y", "https://[half"],
)
def test_invalid_server_addresses_are_rejected(url: str) -> None:
    with pytest.raises(SettingsError):
        checked_server(url)


def test_server_and_opt_out_are_read_from_the_environment() -> None:
    assert settings_from({}, site=SiteRules()).server == DEFAULT_SERVER
    environ = {"NAPARI_UPDATE_SERVER": "https://a.example", "NAPARI_UPDATE_CHECK": "0"}
    settings = settings_from(environ, site=SiteRules("https://b.example"))
    assert (settings.server, settings.disabled_by) == ("https://a.example", "NAPARI_UPDATE_CHECK=0 is set")
    assert settings_from({"NAPARI_UPDATE_CHECK": "1"}, site=SiteRules("https://b.example")).disabled_by is None
    with pytest.raises(SettingsError, match="only if every server is on this machine"):
        settings_from({"NAPARI_UPDATE_NOW": "2026-11-24T12:00:00Z"}, site=SiteRules())


@pytest.mark.promise("off-by-administrator")
def test_administrators_can_set_the_server_and_switch_the_check_off(tmp_path: Path) -> None:
    lenient, strict, damaged = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json"
    lenient.write_text(json.dumps({"server": "https://site.example", "update_check": True}))
    strict.write_bytes(b"\xef\xbb\xbf" + json.dumps({"update_check": False}).encode())
    damaged.write_text("{")
    assert read_site_rules([lenient, tmp_path / "missing.json"]) == SiteRules("https://site.example")
    for files in ([lenient, strict], [strict, lenient]):
        rules = read_site_rules(files)
        assert rules.server == "https://site.example"
        assert "b.json" in str(rules.disabled_by)
    assert "c.json cannot be read" in str(read_site_rules([damaged]).disabled_by), "an unreadable file disables the check"


@pytest.mark.parametrize(
    ("platform", "environ", "fixed"),
    [
        ("linux", {}, "/etc/xdg/napari-update-hook/site.json"),
        ("linux", {"XDG_CONFIG_DIRS": "/home/me/mine"}, "/etc/xdg/napari-update-hook/site.json"),
        ("darwin", {}, "/Library/Application Support/napari-update-hook/site.json"),
        ("win32", {}, r"C:\ProgramData\napari-update-hook\site.json"),
        ("win32", {"PROGRAMDATA": r"D:\Shared"}, r"D:\Shared\napari-update-hook\site.json"),
    ],
)
def test_the_site_file_path_depends_on_the_platform(platform: str, environ: dict[str, str], fixed: str) -> None:
    assert str(fixed_site_file(environ, platform)) == fixed
