"""The command line: output and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from napari_update_hook import cli, client
from napari_update_hook.plugin.starting import SCRIPT

from tests.support.hook import PYPI, VENV, environment, table
from tests.support.raw_server import RecordingServer

HERE = environment("3.10.2", affinder="0.4.0", napari_harpy="0.1.2", private_plugin="1.0")


class CommandResult:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.raw, self.out, self.err = code, out, " ".join(out.split()), " ".join(err.split())

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: RecordingServer) -> Any:
    monkeypatch.setenv("NAPARI_UPDATE_SERVER", server.url)
    monkeypatch.setattr(client, "read_environment", lambda: HERE)
    monkeypatch.setattr(client, "detect_install", lambda: VENV)

    def run(*arguments: str) -> CommandResult:
        monkeypatch.setattr("sys.argv", ["napari-updates", *arguments])
        code: Any = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        told = capsys.readouterr()
        return CommandResult(int(code), told.out, told.err)

    return run


def test_check_shows_what_to_install_and_how(command: Any) -> None:
    told = command("check")
    assert told.code == 10
    assert "There is 1 update." in told.out
    assert "1 plugin is not in the index." in told.out
    assert "private-plugin" not in told.out
    assert "napari-updates update" in told.out
    assert "-m pip install affinder==0.5.0 napari-harpy==0.1.2" in told.out
    assert "telemetry" not in (told.out + told.err).lower()
    assert "private-plugin" in command("check", "--all").out


def test_check_prints_ascii_json_for_any_server_text(command: Any, server: RecordingServer) -> None:
    server.answer(PYPI, table({"affinder": {"releases": [{"version": "0.5.0"}], "yanked": {"0.4.0": "\x9b2J\u202e β"}}}))
    told = command("check", "--json")
    assert told.raw.isascii()
    (row,) = told.json["packages"]
    assert row["withdrawn"] == "\x9b2J\u202e β"
    assert told.json["plan"]["updates"] == [{"name": "affinder", "installed": "0.4.0", "target": "0.5.0"}]
    assert told.json["command"] == "/home/me/venv/bin/python -m pip install affinder==0.5.0"
    assert "\x9b" not in command("check").raw


def test_exit_codes(command: Any, server: RecordingServer) -> None:
    server.answer(PYPI, table({"affinder": "0.4.0"}))
    assert command("check").code == 0
    assert command("plan").code == 0
    server.answer(PYPI, table({"affinder": {"releases": [], "yanked": {"0.4.0": ""}}}))
    assert command("check").code == 10, "withdrawn"
    assert command("check", "--server", "nonsense").code == 2
    assert command("check", "--nonsense").code == 2
    assert command("plan", "--napari", "nonsense").code == 2
    assert command("update", "--json").code == 2
    assert command("undo", "--yes").code == 1
    server.answer("/other/api/updates/pypi.json", b"<html>log in</html>", content_type="text/html")
    portal = command("check", "--server", f"{server.url}/other")
    assert portal.code == 1
    assert "log in first" in portal.err
    lost = command("check", "--server", "http://127.0.0.1:9")
    assert (lost.code, lost.out) == (3, "")
    assert "127.0.0.1:9 could not be reached" in lost.err


def test_plan_prints_updates_and_held_back_packages_as_json(command: Any) -> None:
    told = command("plan", "--json")
    assert told.code == 10
    assert told.json["updates"] == [{"name": "affinder", "installed": "0.4.0", "target": "0.5.0"}]
    (held,) = told.json["held_back"]
    assert held == {
        "name": "napari-harpy", "newest": "0.1.3", "by": ["Python"], "reason": "0.1.3 needs Python >=3.12; this is 3.10",
    }  # fmt: skip
    assert told.json["commands"][0][-2:] == ["affinder==0.5.0", "napari-harpy==0.1.2"]


def test_plan_for_another_napari_version_lists_the_impact(command: Any, server: RecordingServer) -> None:
    assert "does not list napari, so" in command("plan", "--napari", "0.9.2").err
    rows = [{"version": "0.9.3", "requires_python": ">=3.12"}, {"version": "0.9.2"}]
    server.answer(PYPI, table({"affinder": "0.5.0", "napari-harpy": "0.1.2", "napari": rows}))
    assert "needs Python >=3.12; this is 3.10" in command("plan", "--napari", "0.9.3").err
    unknown = command("plan", "--napari", "99")
    assert (unknown.code, "does not list napari 99. Its newest is 0.9.3." in " ".join(unknown.err.split())) == (2, True)
    told = command("plan", "--napari", "0.9.2", "--json")
    assert {one["name"]: one["answer"] for one in told.json["napari_would"]} == {
        "affinder": "fine", "napari-harpy": "fine", "private-plugin": "fine",
    }  # fmt: skip


def test_snoozed_and_ignored_updates_are_hidden_until_unsnoozed(command: Any) -> None:
    assert command("check").code == 10
    assert "is skipped until" in command("snooze", "affinder", "0.5.0", "--for", "21d").out
    told = command("check")
    assert (told.code, "snoozed until" in told.out) == (0, True)
    assert command("plan").code == 0
    assert command("snooze", "--json").json[0]["name"] == "affinder"
    assert command("unsnooze", "Affinder").code == 0
    assert command("check").code == 10
    assert command("unsnooze", "affinder").code == 1
    assert "is skipped." in command("ignore", "affinder").out
    assert command("check").code == 0
    assert command("snooze", "affinder", "--for", "soon").code == 2
    assert "--for 21d" in command("snooze", "affinder", "21d").err, "a duration is not a version"
    assert command("ignore", "affinder", "0.5.0", "--json").json == {"name": "affinder", "version": "0.5.0", "until": None}
    assert command("unsnooze", "affinder", "--json").json == {"removed": 2}
    assert "is not installed" in command("ignore", "not-here").err


def test_status_shows_the_state_without_a_request(command: Any, server: RecordingServer) -> None:
    assert "none yet" in command("status").out
    command("check")
    told = command("status")
    for word in (server.url, "next check in napari", "restore points", "not before"):
        assert word in told.out
    assert command("status", "--json").json["update check"] == "on"
    assert len(server.requests) == 1, "it sends nothing"


def test_todays_index_is_not_said_to_know_compatibility(command: Any, server: RecordingServer) -> None:
    server.answer(PYPI, b"", 404)
    server.answer("/api/extended_summary", [{"name": "affinder", "version": "0.5.0"}])
    told = command("check")
    assert "There is 1 newer version, which may not work here." in told.out
    assert "work together" not in told.out


def test_status_names_files_left_by_telemetry(command: Any, tmp_path: Path) -> None:
    command("check")
    (folder,) = (tmp_path / "client-state" / "environments").iterdir()
    (folder / "telemetry.json").write_text('{"state": "on", "until": null}')
    assert "usage reports" in command("status").out


def test_startup_explains_the_setup_and_whether_it_is_active(command: Any) -> None:
    told = command("startup")
    assert told.code == 0
    assert "napari-hooked" in told.out
    assert str(SCRIPT) in told.out
    assert "napari is not installed in this environment." in told.err
    assert command("startup", "--json").json["is_active"] is False


def test_every_help_text_is_printed(command: Any) -> None:
    for name in ("", "check", "status", "plan", "update", "undo", "snooze", "ignore", "unsnooze", "startup"):
        told = command(*filter(None, (name,)), "--help")
        assert told.code == 0
        assert "<bool>" not in told.out
        assert "telemetry" not in told.out.lower()


@pytest.mark.parametrize("encoding", ["cp1252", "cp850", "ascii", "utf-8"])
def test_output_works_with_any_console_encoding(encoding: str) -> None:
    """Windows consoles cannot encode arrows, Greek or emoji."""
    code = (
        "import sys; from napari_update_hook import cli, terminal; from rich.table import Table\n"
        "@cli.app.command()\n"
        "def odd():\n"
        "    table = Table('name'); table.add_row(terminal.plain('β → 🔬 µm')); terminal.out.print(table); terminal.warn('→')\n"
        "sys.argv = ['napari-updates', 'odd']; cli.main()"
    )
    settings = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, env=settings, check=False)
    assert answer.returncode == 0, answer.stderr
    assert b"name" in answer.stdout
