"""Real processes: every way to start napari with the plugin attached; it does not run otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from napari_update_hook.plugin.starting import SCRIPT

from tests.inside_napari.processes import BIN, NAPARI, UPDATES, FinishedNapari, apply_patch, run_napari
from tests.support import consent

STARTS_SCRIPTS = pytest.mark.skipif(NAPARI.release < (0, 6, 5), reason="needs start-up scripts (napari 0.6.5 or newer)")


def run_napari_command(folder: Path, *arguments: str, wanted: str = "", **environ: Any) -> FinishedNapari:
    return run_napari([BIN / "napari", *arguments], folder, wanted=wanted, seconds=4.0 if not wanted else 15.0, **environ)


@pytest.mark.promise("nothing-runs-unasked")
def test_plain_napari_imports_neither_package(tmp_path: Path) -> None:
    ended = run_napari_command(tmp_path)
    assert (ended.code, ended.windows, ended.indicators) == (0, 1, []), ended.output
    assert ended.ours == []


def test_a_disabled_plugin_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "napari").mkdir()
    (tmp_path / "napari" / "settings.yaml").write_text("plugins:\n  disabled_plugins:\n  - napari-update-hook\n")
    ended = run_napari_command(tmp_path)
    assert (ended.code, ended.windows, ended.indicators, ended.ours) == (0, 1, [], []), ended.output


def test_opening_the_widget_attaches_the_plugin(tmp_path: Path) -> None:
    ended = run_napari_command(tmp_path, "-w", "napari-update-hook", wanted=UPDATES)
    assert ended.code == 0, ended.output
    assert len(ended.indicators) == 1
    assert ended.indicators[0].endswith(UPDATES)


def test_the_launcher_accepts_the_arguments_of_napari(tmp_path: Path) -> None:
    image = tmp_path / "image.csv"
    image.write_text("index,axis-0,axis-1\n0,1,2\n")
    command: list[str | Path] = [BIN / "napari-hooked", "--layer-type", "points", image]
    ended = run_napari(command, tmp_path, wanted=UPDATES, seconds=15)
    assert ended.code == 0, ended.output
    assert [text.endswith(UPDATES) for text in ended.indicators] == [True], ended.output
    version = subprocess.run([BIN / "napari-hooked", "--version"], capture_output=True, text=True, check=True)
    assert str(NAPARI) in version.stdout
    without_a_display = {"PATH": str(BIN), "HOME": str(tmp_path), "NAPARI_CONFIG": str(tmp_path / "settings.yaml")}
    helped = subprocess.run(
        [BIN / "napari-hooked", "--help"], env=without_a_display, capture_output=True, text=True, check=False
    )
    assert helped.returncode == 0, helped.stderr
    assert "usage:" in helped.stdout


@STARTS_SCRIPTS
def test_the_startup_script_attaches_the_plugin(tmp_path: Path) -> None:
    ended = run_napari_command(tmp_path, wanted=UPDATES, NAPARI_APPLICATION_STARTUP_SCRIPT=str(SCRIPT))
    assert [text.endswith(UPDATES) for text in ended.indicators] == [True], ended.output


def test_the_patched_napari_attaches_to_every_viewer(tmp_path: Path) -> None:
    import napari

    copy = tmp_path / "patched" / "site-packages"  # with any other name, napari detects a second installation
    subprocess.run(["cp", "-r", Path(napari.__file__).parent, tmp_path / "napari-copy"], check=True)
    copy.mkdir(parents=True)
    (tmp_path / "napari-copy").rename(copy / "napari")
    apply_patch(copy)
    two_viewers = "import napari; one, two = napari.Viewer(), napari.Viewer(); napari.run()"
    ended = run_napari([sys.executable, "-c", two_viewers], tmp_path, wanted=UPDATES, seconds=15, path=str(copy))
    assert ended.windows == 2, ended.output
    assert [text.endswith(UPDATES) for text in ended.indicators] == [True, True], ended.output
    tested = run_napari_command(tmp_path, path=str(copy), PYTEST_VERSION="9")
    assert (tested.windows, tested.indicators) == (1, []), "silent under pytest: " + tested.output
    switched_off = run_napari_command(tmp_path, path=str(copy), NAPARI_UPDATE_CHECK="0")
    assert (switched_off.windows, switched_off.indicators) == (1, []), switched_off.output
    broken = tmp_path / "broken" / "napari_update_hook"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('broken')")
    ended = run_napari_command(tmp_path, path=f"{broken.parent}:{copy}")
    assert (ended.code, ended.windows) == (0, 1), ended.output
    assert "Traceback" not in ended.output


def test_a_broken_plugin_does_not_disturb_napari(tmp_path: Path) -> None:
    code = (
        "import napari_update_hook.plugin.session as session\n"
        "def fail(*_, **__): raise RuntimeError('broken')\n"
        "session.Session.__init__ = fail\n"
        "from napari_update_hook.plugin.starting import main\n"
        "import sys; sys.argv = ['napari-hooked']; main()\n"
    )
    ended = run_napari([sys.executable, "-c", code], tmp_path, seconds=3)
    assert (ended.code, ended.windows, ended.indicators) == (0, 1, []), ended.output
    assert "Traceback" not in ended.output


def test_a_second_viewer_in_ipython_is_attached(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    code = (
        "import napari, napari_update_hook\n"
        "viewer = napari.Viewer(); napari_update_hook.attach(viewer)\n"
        "viewer.close()\n"
        "viewer = napari.Viewer(); napari_update_hook.attach(viewer); napari_update_hook.attach(viewer)\n"
        "napari.run()\n"
    )
    ended = run_napari([sys.executable, "-m", "IPython", "--gui=qt", "-c", code], tmp_path, wanted=UPDATES, seconds=15)
    assert [text.endswith(UPDATES) for text in ended.indicators] == [True], ended.output


def test_check_and_counting_work_without_qt(tmp_path: Path) -> None:
    consent.record("full")
    code = (
        "import sys, time, napari_telemetry, napari_update_hook, numpy\n"
        "from napari.components import ViewerModel\n"
        "viewer = ViewerModel(); napari_update_hook.attach(viewer)\n"
        "from napari_telemetry.plugin.instance import get_instance as telemetry\n"
        "from napari_update_hook.plugin.instance import get_instance\n"
        "ends = time.time() + 25\n"
        "while not telemetry().counting.is_connected and time.time() < ends: time.sleep(0.05)\n"
        "viewer.add_image(numpy.zeros((2, 2)))\n"
        "while get_instance().session.snapshot.result is None and time.time() < ends: time.sleep(0.05)\n"
        "print('QT', [name for name in sys.modules if name.startswith(('PyQt', 'PySide'))])\n"
        "from qtpy.QtWidgets import QApplication\n"
        "print('APPLICATION', QApplication.instance())\n"
        "telemetry().end()\n"
        "print('COUNTED', sum(sum(one.layers.values()) for one in napari_telemetry.status().view.counts.values()))\n"
        "print('KNOWN', get_instance().session.snapshot.result is not None)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert NAPARI.release < (0, 9) or "QT []" in ended.stdout  # before napari 0.9, the models import Qt
    assert "APPLICATION None" in ended.stdout
    assert "COUNTED 1" in ended.stdout
    assert "KNOWN True" in ended.stdout
    assert "Traceback" not in ended.stderr
