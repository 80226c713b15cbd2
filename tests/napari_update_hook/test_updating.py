"""`update` and `undo` with real pip and uv, on tiny wheels."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from napari_update_hook import cli, client, install
from napari_update_hook.cli import updating
from napari_update_hook.installers import Command
from napari_update_hook.plugin.session import Session
from napari_update_hook.plugin.tasks import Task

from tests.support.hook import PYPI, table
from tests.support.raw_server import RecordingServer
from tests.support.waiting import wait_until
from tests.support.wheels import ToolEnvironment, WheelIndex, make_wheel

pytestmark = pytest.mark.skipif(find_spec("uv") is None, reason="needs uv: pip install uv")
NAPARIS = ("0.5.6", "0.6.1", "0.6.6", "0.8.0")
BLOCKING_PLUGINS = {"axondeepseg": ("5.5.0", "napari<0.7.0"), "empanada-napari": ("1.2.4", "napari<=0.6.6")}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of napari, plugins that hold it back, a plugin that needs a newer `helper`, and one that excludes the newer
    `helper`.
    """
    folder = tmp_path_factory.mktemp("wheels")
    for version in NAPARIS:
        make_wheel(folder, "napari", version)
    for name, (version, needs) in BLOCKING_PLUGINS.items():
        make_wheel(folder, name, version, [needs])
    for version in ("0.4.0", "0.5.0"):
        make_wheel(folder, "affinder", version)
    make_wheel(folder, "grows", "1.0", ["helper>=1"])
    make_wheel(folder, "grows", "2.0", ["helper>=2", "extra"])
    make_wheel(folder, "helper", "1.0")
    make_wheel(folder, "helper", "2.0")
    make_wheel(folder, "extra", "1.0")
    make_wheel(folder, "private", "1.0", ["helper<2"])
    make_wheel(folder, "impossible", "1.0")
    make_wheel(folder, "impossible", "2.0", ["nowhere-to-be-found"])
    return folder


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("templates")
    return {tool: ToolEnvironment(folder / tool, "", tool).folder for tool in ("pip", "uv")}


@pytest.fixture
def package_index(wheels: Path) -> Iterator[WheelIndex]:
    made = WheelIndex(wheels)
    yield made
    made.close()


@pytest.fixture
def index(server: RecordingServer) -> RecordingServer:
    rows: dict[str, Any] = {"napari": [{"version": version} for version in reversed(NAPARIS)]}
    for name, (version, needs) in BLOCKING_PLUGINS.items():
        rows[name] = [{"version": version, "requires_napari": needs.removeprefix("napari")}]
    rows |= {"affinder": "0.5.0", "grows": "2.0", "impossible": "2.0"}
    server.answer(PYPI, table(rows))
    return server


class CommandLine:
    def __init__(
        self,
        made: ToolEnvironment,
        index: RecordingServer,
        packages: WheelIndex,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.made, self.index, self.packages = made, index, packages
        self._capfd, self._monkeypatch = capfd, monkeypatch

    def __call__(self, *arguments: str) -> tuple[int, str]:
        self._monkeypatch.setattr("sys.argv", ["napari-updates", *arguments])
        code: Any = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
        output = self._capfd.readouterr()
        return int(code), output.out if "--json" in arguments else " ".join((output.out + output.err).split())


@pytest.fixture(params=[pytest.param("pip", marks=pytest.mark.slow), "uv"])
def program(
    request: pytest.FixtureRequest, tmp_path: Path, index: RecordingServer, package_index: WheelIndex,
    templates: dict[str, Path], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> CommandLine:  # fmt: skip
    made = ToolEnvironment(tmp_path / "environment", package_index.url, request.param, templates[request.param])
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    for name, value in made.environ.items():
        if name == "PATH" or name.startswith(("PIP_", "UV_")):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("NAPARI_UPDATE_SERVER", index.url)
    monkeypatch.setenv("COLUMNS", "160")
    for module in (client, install):
        monkeypatch.setattr(module, "read_environment", made.read)
    monkeypatch.setattr(client, "detect_install", lambda: made.install_environment)
    return CommandLine(made, index, package_index, capfd, monkeypatch)


def test_a_compatible_set_is_installed_and_undone(program: CommandLine) -> None:
    program.made.install("napari==0.5.6", "axondeepseg==5.5.0", "empanada-napari==1.2.4", "affinder==0.4.0")
    before = program.made.freeze()
    code, output = program("update", "--yes")
    assert code == 0, output
    assert "0.8.0 would break axondeepseg (needs napari <0.7.0)" in output
    assert "The dry run succeeded." in output
    assert program.made.versions == {
        "napari": "0.6.6", "affinder": "0.5.0", "axondeepseg": "5.5.0", "empanada-napari": "1.2.4",
    }  # fmt: skip
    code, output = program("undo", "--yes")
    assert code == 0, output
    assert "affinder: 0.5.0 -> 0.4.0" in output
    assert program.made.freeze() == before
    assert program("undo", "--yes")[0] == 1, "nothing is left to undo"


def test_other_changes_are_shown_and_undo_removes_new_packages(program: CommandLine) -> None:
    program.made.install("grows==1.0", "helper==1.0")
    before = program.made.freeze()
    code, output = program("plan", "--verify")
    assert code == 10, output
    assert "New: extra -> 1.0" in output or "New: extra 1.0" in output
    assert "Also changes: helper 1.0 -> 2.0" in output
    code, output = program("update", "--yes", "--json")
    document = json.loads(output)
    assert {one["name"]: one["after"] for one in document["changed"]} == {"grows": "2.0", "helper": "2.0", "extra": "1.0"}
    assert program("undo", "--yes", "--json")[0] == 0
    assert program.made.freeze() == before


def test_an_update_that_would_break_an_unlisted_plugin_is_left_out(program: CommandLine) -> None:
    """The index does not list `helper`; only the dry run and the package metadata show the conflict."""
    program.made.install("grows==1.0", "helper==1.0", "private==1.0", "affinder==0.4.0")
    asked = len(program.packages.asked)
    code, output = program("update", "--yes")
    assert code == 0, output
    assert "Left out: grows, because private needs helper <2" in output
    assert "private" not in program.packages.asked[asked:], "the names of private packages are not sent to the package index"
    assert program.made.versions["affinder"] == "0.5.0"
    assert program.made.versions["grows"] == "1.0"


def test_the_resolvable_part_of_a_plan_is_kept(program: CommandLine) -> None:
    program.made.install("impossible==1.0", "affinder==0.4.0")
    _, output = program("plan", "--verify", "--json")
    document = json.loads(output)
    assert [(one["name"], one["target"]) for one in document["updates"]] == [("affinder", "0.5.0")]
    assert "nowhere-to-be-found" in document["verified"]["left_out"]["impossible"]
    assert document["verified"]["problem"] is None


def test_only_the_named_packages_are_updated(program: CommandLine) -> None:
    program.made.install("napari==0.6.1", "affinder==0.4.0")
    assert program("update", "nowhere", "--yes")[0] == 2
    code, output = program("update", "affinder", "--yes")
    assert code == 0, output
    assert program.made.versions == {"napari": "0.6.1", "affinder": "0.5.0"}
    assert program("update", "affinder", "--yes") == (0, "There is nothing to update.")


def test_nothing_is_changed_without_a_terminal_or_yes(program: CommandLine) -> None:
    program.made.install("affinder==0.4.0")
    code, output = program("update")
    assert code == 1
    assert "pass --yes" in output
    assert program.made.versions == {"affinder": "0.4.0"}


@pytest.mark.parametrize("program", ["pip"], indirect=True)
def test_local_builds_are_never_replaced(program: CommandLine, wheels: Path) -> None:
    for version in ("1.0+cu118", "2.0"):
        make_wheel(wheels, "tensors", version, is_plugin=False)
    make_wheel(wheels, "learns", "1.0")
    make_wheel(wheels, "learns", "2.0", ["tensors>=2"])
    program.made.install("learns==1.0", "tensors==1.0+cu118", "affinder==0.4.0")
    program.index.answer(PYPI, table({"learns": "2.0", "affinder": "0.5.0"}))
    code, output = program("update", "--yes")
    assert code == 0, output
    assert "tensors 1.0+cu118, which comes from outside the index, would be replaced by 2.0" in output
    assert program.made.versions == {"learns": "1.0", "tensors": "1.0+cu118", "affinder": "0.5.0"}


@pytest.mark.parametrize("program", ["uv"], indirect=True)
def test_undo_reverts_only_what_the_update_changed(program: CommandLine) -> None:
    program.made.install("affinder==0.4.0", "private==1.0", "helper==1.0")
    assert program("update", "--yes")[0] == 0
    program.made.install("extra==1.0", "--no-deps", "helper==2.0")
    asked = len(program.packages.asked)
    assert program("undo", "--yes")[0] == 0
    assert program.made.versions == {"affinder": "0.4.0", "private": "1.0", "helper": "2.0", "extra": "1.0"}
    assert "private" not in program.packages.asked[asked:]


@pytest.mark.parametrize("program", ["uv"], indirect=True)
def test_a_version_missing_from_the_index_does_not_block_undoing_others(program: CommandLine, wheels: Path) -> None:
    make_wheel(wheels, "vanishing", "2.0")
    wheel = make_wheel(wheels, "vanishing", "1.0")
    program.made.install("affinder==0.4.0", "vanishing==1.0")
    program.index.answer(PYPI, table({"vanishing": "2.0", "affinder": "0.5.0"}))
    assert program("update", "--yes")[0] == 0
    wheel.unlink()
    code, output = program("undo", "--yes")
    assert code == 1
    assert "vanishing==1.0" in output
    assert program.made.versions["affinder"] == "0.4.0"


@pytest.mark.parametrize("program", ["pip"], indirect=True)
def test_a_downgrade_needs_allow_downgrades(program: CommandLine, wheels: Path) -> None:
    install_plugin_that_needs_a_downgrade(program, wheels)
    code, output = program("update", "--yes")
    assert code == 1
    assert "it would downgrade library 2.0 -> 1.0" in output
    assert program("update", "--yes", "--allow-downgrades")[0] == 0
    assert program.made.versions == {"older": "2.0", "library": "1.0"}


def install_plugin_that_needs_a_downgrade(program: CommandLine, wheels: Path) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(wheels, "library", version, is_plugin=False)
    make_wheel(wheels, "older", "1.0")
    make_wheel(wheels, "older", "2.0", ["library<2"])
    program.made.install("older==1.0", "library==2.0")
    program.index.answer(PYPI, table({"older": "2.0"}))


@pytest.mark.parametrize("program", ["pip", "uv"], indirect=True)
def test_being_offline_is_reported_at_once_and_not_as_a_conflict(program: CommandLine) -> None:
    program.made.install("affinder==0.4.0")
    program.packages.close()
    code, output = program("update", "--yes")
    assert code == 1
    assert "could not reach its package index" in output
    assert "Left out" not in output


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
def test_an_interrupt_waits_while_the_tool_rolls_back(tmp_path: Path) -> None:
    tool = (
        "import signal, sys, time\n"
        "def undo(*_): time.sleep(1.5); open(sys.argv[1], 'w').write('rolled back'); sys.exit(1)\n"
        "signal.signal(signal.SIGINT, undo); print('begun', flush=True); time.sleep(60)\n"
    )
    code = (
        "import signal, sys; from napari_update_hook.install import run_commands\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # SIGINT is ignored in a shell's background jobs
        "from napari_update_hook.installers import Command, Tool\n"
        f"print(run_commands([Command(Tool.OTHER, (sys.executable, '-c', {tool!r}, sys.argv[1]))]))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "done")]
    outer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert outer.stdout is not None
    assert outer.stdout.readline() == "begun\n"
    os.killpg(outer.pid, signal.SIGINT)  # as a terminal does
    output, _ = outer.communicate(timeout=60)
    assert "was interrupted" in output
    assert (tmp_path / "done").read_text() == "rolled back"


def test_a_partial_failure_reports_the_state_of_the_environment(program: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    program.made.install("affinder==0.4.0", "grows==1.0", "helper==1.0")
    run = install.run_commands

    def half(commands: Any, **options: Any) -> str | None:
        argv = tuple(one for one in commands[0].argv if not one.startswith("grows"))
        run([Command(commands[0].tool, argv)], **options)
        return "pip was interrupted"

    monkeypatch.setattr(updating, "run_commands", half)
    code, output = program("update", "--yes")
    assert code == 1
    assert "The installation failed: pip was interrupted." in output
    assert "affinder: 0.4.0 -> 0.5.0" in output
    assert "Not installed: grows 2.0" in output
    assert "napari-updates undo" in output
    monkeypatch.setattr(updating, "run_commands", run)
    assert program("undo", "--yes")[0] == 0
    assert program.made.versions["affinder"] == "0.4.0"


@pytest.mark.parametrize("program", ["uv"], indirect=True)
def test_a_missing_tool_is_named(program: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    program.made.install("affinder==0.4.0")
    monkeypatch.setenv("PATH", os.devnull)
    code, output = program("update", "--yes")
    assert code == 1
    assert "uv was not found" in output


def test_a_release_that_needs_a_build_is_reported(program: CommandLine, wheels: Path) -> None:
    """Building runs code, so a dry run does not."""
    import tarfile
    from io import BytesIO

    with tarfile.open(wheels / "built-2.0.tar.gz", "w:gz") as archive:
        for name, text in {
            "built-2.0/PKG-INFO": "Metadata-Version: 2.1\nName: built\nVersion: 2.0\n",
            "built-2.0/setup.py": f"open({str(wheels / 'was-run')!r}, 'w')\n",
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, BytesIO(text.encode()))
    make_wheel(wheels, "built", "1.0")
    program.made.install("built==1.0")
    program.index.answer(PYPI, table({"built": "2.0"}))
    code, output = program("plan", "--verify")
    assert code == 0, output
    assert "pass --build to build from source" in output
    assert not (wheels / "was-run").exists()


def test_commands_use_the_python_of_the_environment(program: CommandLine) -> None:
    program.made.install("affinder==0.4.0")
    _, output = program("plan", "--json")
    (argv,) = json.loads(output)["commands"]
    assert str(program.made.python) in argv
    assert Path(argv[0]).name.startswith("python") or argv[0] == "uv"
    assert sys.executable not in argv


def test_a_session_updates_plugins_and_undoes_the_updates(program: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a subprocess, as the panel can."""
    program.made.install("napari==0.5.6", "affinder==0.4.0", "grows==1.0", "helper==1.0")
    before = program.made.freeze()
    monkeypatch.setattr("napari_update_hook.plugin.worker.POLL_INTERVAL_S", 0.05)
    session = Session(first_check_after=3600)
    session.start()
    session.check()
    try:
        for names, changed in ((["affinder"], {"affinder": "0.5.0"}), ([], {"grows": "2.0", "helper": "2.0"})):
            session.update(names)
            done = wait_for_task(session)
            assert not done.has_failed, done
            assert changed.items() <= program.made.versions.items()
            assert program.made.versions["napari"] == "0.5.6", "the running napari is not updated"
        assert session.snapshot.needs_restart
        for _ in range(2):
            session.undo()
            assert wait_for_task(session).outcome.startswith("Restored ")
        assert program.made.freeze() == before
        assert session.snapshot.undo == ()
        session.undo()
        assert wait_for_task(session).outcome == "There is nothing to undo."
    finally:
        session.stop()


@pytest.mark.parametrize("program", ["pip"], indirect=True)
def test_a_session_asks_before_downgrading_another_package(program: CommandLine, wheels: Path) -> None:
    install_plugin_that_needs_a_downgrade(program, wheels)
    session = Session(first_check_after=3600)
    session.start()
    session.check()
    session.update()
    asked = wait_for_task(session)
    assert asked.question == "This would also downgrade library 2.0 → 1.0. Install it anyway?"
    assert program.made.versions == {"older": "1.0", "library": "2.0"}
    session.update(asked.names, with_downgrades=True)
    assert not wait_for_task(session).has_failed
    assert program.made.versions == {"older": "2.0", "library": "1.0"}
    session.stop()


def test_a_session_asks_before_updating_other_packages_too(program: CommandLine) -> None:
    program.made.install("grows==1.0", "helper==1.0")
    grows = {"releases": [{"version": "2.0", "requires": {"helper": ">=2"}}]}
    program.index.answer(PYPI, table({"grows": grows, "helper": "2.0"}))
    session = Session(first_check_after=3600)
    session.start()
    session.check()
    session.update(["grows"])
    asked = wait_for_task(session)
    assert asked.question == "grows works only with helper 2.0. Install them together?"
    assert program.made.versions == {"grows": "1.0", "helper": "1.0"}
    session.update(asked.names, with_downgrades=asked.with_downgrades)
    assert wait_for_task(session).outcome == "Installed grows 2.0, helper 2.0. Restart napari to use them."
    session.stop()


def test_a_session_cancels_an_update_that_has_just_started(program: CommandLine) -> None:
    program.made.install("affinder==0.4.0")
    session = Session(first_check_after=3600)
    session.start()
    session.check()
    session.update()
    session.cancel()
    done = wait_for_task(session)
    assert (done.outcome, done.has_failed, session.snapshot.is_installing) == ("Cancelled. Nothing was changed.", True, False)
    session.cancel()
    assert session.snapshot.task == done, "a finished task cannot be cancelled"
    assert program.made.versions == {"affinder": "0.4.0"}
    session.stop()


def test_a_session_does_not_undo_an_update_of_napari(program: CommandLine) -> None:
    program.made.install("napari==0.5.6")
    assert program("update", "--yes")[0] == 0
    session = Session(first_check_after=3600)
    session.start()
    session.undo()
    assert wait_for_task(session).outcome.startswith("The last update changed napari itself. Close napari")
    assert session.snapshot.undo == ()
    assert program.made.versions["napari"] == "0.8.0"
    session.stop()


def test_only_one_process_installs_at_a_time(program: CommandLine) -> None:
    program.made.install("affinder==0.4.0")
    with client.current_client().state.installing():
        code, output = program("update", "--yes")
    assert code == 1
    assert "Another program is installing updates in this environment." in output
    assert program("update", "--yes")[0] == 0


def wait_for_task(session: Session) -> Task:
    """Wait for the task and the reread of the state; return the task."""
    wait_until(lambda: session.snapshot.task is not None and not session.snapshot.task.is_running)
    done = threading.Event()
    session._jobs.put(done.set)
    assert done.wait(60)
    assert session.snapshot.task is not None
    return session.snapshot.task
