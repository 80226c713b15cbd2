"""Contents and imports of the package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import napari_update_hook
import pytest
from napari_update_hook import seam
from napari_update_hook.state import State

CLIENT = Path(__file__).parents[2] / "client_hook"
PACKAGE = Path(napari_update_hook.__file__).parent
NOW = datetime(2026, 11, 18, 12, tzinfo=timezone.utc)


def imports_of(path: Path) -> set[str]:
    """Return the top-level modules that a file imports, including lazy imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.promise("no-telemetry-without-install")
def test_the_update_check_has_no_telemetry_code() -> None:
    for path in PACKAGE.rglob("*.py"):
        imported = imports_of(path)
        assert not imported & {"sqlite3", "httpx", "msgspec", "hmac", "secrets", "uuid"}, path
        assert ("napari_telemetry" in imported) is (path.name == "seam.py"), path
        assert ".post(" not in path.read_text("utf-8"), path


def test_only_dependencies_of_napari_are_imported() -> None:
    allowed = {"packaging", "platformdirs", "requests", "certifi", "rich", "typer"}  # outside napari
    inside = {"qtpy", "superqt", "napari", "napari_plugin_manager", "napari_telemetry"}
    for path in PACKAGE.rglob("*.py"):
        others = imports_of(path) - set(sys.stdlib_module_names) - {"napari_update_hook"}
        assert others <= allowed | inside, path


@pytest.mark.parametrize("name", ["napari-update-hook", "napari-telemetry"])
def test_every_declared_dependency_is_imported(name: str) -> None:
    imported = set().union(*(imports_of(path) for path in (CLIENT / name / "src").rglob("*.py")))
    project = (CLIENT / name / "pyproject.toml").read_text("utf-8")
    listed = re.search(r"^dependencies = \[(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert listed is not None
    required = re.findall(r'^\s*"([a-z-]+)', listed[1], re.MULTILINE)
    assert required
    assert {one.replace("-", "_") for one in required} <= imported


def test_importing_the_package_loads_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import napari_update_hook; print(*sorted(set(sys.modules) - before))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["__future__", "napari_update_hook"]


def test_importing_the_plugin_does_not_load_heavy_modules() -> None:
    heavy = "requests rich typer packaging napari_update_hook.client qtpy"
    code = (
        "import sys; from napari_update_hook.plugin import instance, session, view\n"
        f"print(*[name for name in {heavy.split()!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


def test_the_command_line_works_without_sqlite(tmp_path: Path) -> None:
    """Some Python builds lack it."""
    code = (
        "import sys; sys.modules['sqlite3'] = None; from napari_update_hook import cli; sys.argv[1:] = ['status']; cli.main()"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_only_widgets_import_qt() -> None:
    strays = {path.name for path in PACKAGE.rglob("*.py") if imports_of(path) & {"qtpy", "PyQt6"} and path.parent.name != "qt"}
    assert strays == {"instance.py"}, "it checks for a running Qt application"


def test_widgets_do_not_import_storage_or_network_code() -> None:
    for path in (PACKAGE / "plugin" / "qt").glob("*.py"):
        text = path.read_text("utf-8")
        for module in ("state", "transport", "client", "index", "install", "settings"):
            assert f"napari_update_hook.{module} import" not in text.replace("    from", ""), path


@pytest.fixture
def telemetry(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    calls: list[object] = []
    stand_in = SimpleNamespace(send_if_due=calls.append, attach=calls.append, __spec__=object())
    monkeypatch.setitem(sys.modules, "napari_telemetry", stand_in)
    return calls


@pytest.mark.promise("no-telemetry-without-install")
@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        {"state": "off"},
        {"state": "ask", "after": (NOW + timedelta(days=1)).isoformat()},
        {"state": "ask", "after": "?"},
        {"state": "ask"},
    ],
)
def test_telemetry_is_not_called_unless_its_seam_file_allows_it(
    tmp_path: Path, telemetry: list[object], said: dict[str, object] | None
) -> None:
    state = State(tmp_path, "here")
    state.write_telemetry(said)
    seam.send_if_due(state, 4.5)
    seam.attach(state, NOW, "viewer")
    assert telemetry == []


@pytest.mark.parametrize(
    ("said", "called"),
    [
        ({"state": "on"}, [4.5, "viewer"]),
        ({"deleting": True}, [4.5]),
        ({"state": "ask", "after": (NOW + timedelta(days=1)).isoformat(), "deleting": True}, [4.5]),
        ({"state": "ask", "after": NOW.isoformat()}, ["viewer"]),
    ],
)
def test_telemetry_is_called_as_its_seam_file_allows(
    tmp_path: Path, telemetry: list[object], said: dict[str, object], called: list[object]
) -> None:
    state = State(tmp_path, "here")
    state.write_telemetry(said)
    seam.send_if_due(state, 4.5)
    seam.attach(state, NOW, "viewer")
    assert telemetry == called


def test_broken_or_missing_telemetry_does_not_break_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path, "here")
    state.write_telemetry({"state": "on"})

    def broken(_: object) -> None:
        raise RuntimeError("broken")

    for module in (SimpleNamespace(send_if_due=broken, attach=broken), None):
        monkeypatch.setitem(sys.modules, "napari_telemetry", module)
        state.write_telemetry({"state": "on"})
        seam.send_if_due(state, 4.5)
        seam.attach(state, NOW, "viewer")


@pytest.mark.promise("off-by-uninstalling")
def test_reinstalled_telemetry_has_no_consent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = State(tmp_path, "here")
    state.write_telemetry({"state": "on"})
    monkeypatch.setattr(seam, "find_spec", lambda _: object())
    assert seam.reset_if_uninstalled(state, NOW) is None
    assert state.read_telemetry()["state"] == "on"
    (tmp_path / "telemetry.sqlite3").write_bytes(b"")
    monkeypatch.setattr(seam, "find_spec", lambda _: None)
    said = seam.reset_if_uninstalled(state, NOW)
    assert "was uninstalled" in str(said)
    assert str(tmp_path / "telemetry.sqlite3") in str(said), "the message names the leftover file"
    assert state.read_telemetry()["state"] == "ask"
    assert seam.may_attach(state, NOW), "the user is asked again"
    assert not seam.may_send(state)
    assert seam.reset_if_uninstalled(state, NOW) is None, "reported once"
    state.write_telemetry({"state": "on", "deleting": True})
    assert seam.reset_if_uninstalled(state, NOW) is not None
    assert seam.may_send(state), "a pending deletion is sent after reinstallation"
    assert seam.leftover_notice(state) is not None, "status shows the leftover file"
