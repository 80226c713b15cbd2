"""The command line: output and exit codes."""

from __future__ import annotations

import json
from typing import Any

import httpx
import napari_telemetry
import pytest
import respx
from napari_telemetry import cli, words
from napari_telemetry.client import current_client
from napari_telemetry.records import View
from napari_update_hook.state import CheckState
from typer.testing import CliRunner

from tests.support.client import HERE, NOON, SERVER, TABLE_BODY, TABLE_PATH


@pytest.fixture(autouse=True)
def _fake_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_UPDATE_SERVER", SERVER)
    monkeypatch.setattr("napari_update_hook.environment.read_environment", lambda: HERE)
    current_client().hook_state.write_check(CheckState({f"{SERVER}{TABLE_PATH}": (NOON, TABLE_BODY.decode())}))


class CommandOutput:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str, width: int = 200
) -> CommandOutput:
    """Run in this process, so that requests reach the mocked server."""
    from napari_update_hook import terminal
    from rich.console import Console

    for module in (terminal, cli):
        monkeypatch.setattr(module, "out", Console(highlight=False, width=width), raising=False)
        monkeypatch.setattr(module, "err", Console(stderr=True, highlight=False, width=width), raising=False)
    monkeypatch.setattr("sys.argv", ["napari-telemetry", *arguments])
    code: Any = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code or 0
    told = capsys.readouterr()
    return CommandOutput(int(code), told.out, told.err)


def view() -> View:
    return current_client().store.view(SERVER)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: respx.MockRouter) -> Any:
    return lambda *arguments: run(capsys, monkeypatch, *arguments)


def test_exit_codes(command: Any, server: respx.MockRouter) -> None:
    assert command("status").code == 0
    assert command("status", "--server", "nonsense").code == 2
    assert command("status", "--nonsense").code == 2
    command("consent", "set", "middle")
    server.get("/api/telemetry/allowed/middle").mock(side_effect=httpx.ConnectError)
    assert command("preview").code == 3


@pytest.mark.promise("off-in-a-terminal")
def test_consent_preview_sending_and_deletion_work_in_a_terminal(command: Any, server: respx.MockRouter) -> None:
    assert "not agreed" in command("preview").err
    assert "Recorded: middle" in command("consent", "set", "middle", "--for", "90d").out
    previewed = command("preview", "--json").json
    napari_telemetry.send_if_due(60)
    (sent,) = command("sent", "--json").json
    assert json.loads(sent["request"]) == previewed
    assert '"identifier"' in command("sent").out
    ids = command("id")
    assert previewed["report"]["identifier"] in ids.out
    assert "HMAC-SHA256" in ids.out
    server.post("/api/reports/find").respond(200, json={"reports": []})
    assert "0 reports" in command("server-copy").out
    withdrawn = command("consent", "set", "none")
    assert "napari-telemetry forget" in withdrawn.out, "it offers to delete"
    removal = " ".join(withdrawn.out.split()).partition(words.REMOVE)[2]  # contains this environment's installer
    assert "napari-telemetry" in removal, "it offers to remove the package"
    server.post("/api/reports/delete").respond(200, json={"deleted": 1})
    assert command("forget").code == 1, "there is no terminal in which to confirm"
    assert not any(call.request.url.path == "/api/reports/delete" for call in server.calls)
    forgotten = command("forget", "--yes")
    assert forgotten.code == 0
    assert "Deleted on servers: 1 report" in forgotten.out
    assert "Nothing more is sent" in forgotten.out
    shown = command("consent", "show")
    assert shown.out.count("napari-telemetry consent set") == 2
    assert [record["level"] for record in command("consent", "show", "--json").json["history"]] == ["middle", "none"]


def test_ask_shows_every_level_and_records_nothing(command: Any) -> None:
    told = command("consent", "ask")
    for word in ("none", "basic", "middle", "full", '"first_report"', '"command_usage"', "never below ten"):
        assert word in told.out
    assert view().history == []


@pytest.mark.parametrize(("typed", "level"), [("full\n", "full"), ("None\n", "none"), ("\n", None), ("yes\n", None)])
def test_only_a_valid_typed_answer_is_recorded(
    monkeypatch: pytest.MonkeyPatch, server: respx.MockRouter, typed: str, level: str | None
) -> None:
    monkeypatch.setattr(cli, "is_interactive", lambda: True)
    result = CliRunner().invoke(cli.app, ["consent", "ask"], input=typed)
    record = view().consent
    assert (record.level.value if record else None) == level
    assert len(view().prompts) == 1
    assert (result.exit_code == 0) is (typed != "yes\n")


def test_difference_prints_text_and_json(command: Any) -> None:
    command("consent", "set", "basic")
    assert "No fields were added" in command("consent", "difference").out
    everything = command("consent", "difference", "--since", "0", "--json").json
    assert {change["name"] for change in everything["changes"]} >= {"week", "plugins", "command_usage"}
    assert "Level middle now also sends plugins" in command("consent", "difference", "--since", "0").out


def test_status_prints_text_and_json(command: Any, server: respx.MockRouter) -> None:
    assert "not agreed" in command("status").out
    command("consent", "set", "full")
    napari_telemetry.send_if_due(60)
    told = command("status")
    for word in ("level full", "Next report", "Last report", "Your answer", SERVER):
        assert word in told.out
    assert command("status", "--json").json["level"] == "full"


def test_status_reports_a_problem_and_exits_with_1(command: Any) -> None:
    command("consent", "set", "full")
    store = current_client().store
    store.close()
    assert store.path is not None
    store.path.write_bytes(b"damaged file, quite long" * 90)
    told = command("status")
    assert told.code == 1
    assert "Delete the file" in told.out


@pytest.mark.parametrize("encoding", ["cp1252", "cp850", "ascii", "utf-8"])
def test_output_works_with_any_console_encoding(encoding: str) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from napari_telemetry import cli; from napari_update_hook import terminal\n"
        "from rich.table import Table\n"
        "@cli.app.command()\n"
        "def odd():\n"
        "    table = Table('name'); table.add_row(terminal.plain('β → 🔬 µm')); terminal.out.print(table); terminal.warn('→')\n"
        "sys.argv = ['napari-telemetry', 'odd']; cli.main()"
    )
    import os

    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
    assert answer.returncode == 0, answer.stderr
    assert b"name" in answer.stdout


def test_status_is_consistent_after_each_step(command: Any, server: respx.MockRouter) -> None:
    server.post("/api/reports/delete").respond(200, json={"deleted": 1})
    command("consent", "set", "full")
    assert "with the next update check" in command("status").out
    napari_telemetry.send_if_due(60)
    told = command("status").out
    assert "the server has everything of" in told
    assert "not sent" not in told
    command("forget", "--yes")
    assert "is no longer sent" in command("status").out
    assert "no longer sent" in command("preview").err
    command("off")
    told = command("status").out
    assert "Next report: none" in told
    assert "not before" not in told


def test_off_ends_consent(command: Any) -> None:
    command("consent", "set", "full", "--for", "90d")
    assert "until 20" in command("consent", "show").out
    assert command("off").code == 0
    assert view().history[-1].means == "napari-telemetry off"
    assert "until you change it" in command("consent", "show").out
