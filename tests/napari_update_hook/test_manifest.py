from __future__ import annotations

from importlib.resources import files

from npe2 import PluginManifest


def test_the_manifest_is_one_that_napari_reads() -> None:
    manifest = PluginManifest.from_distribution("napari-update-hook")
    assert manifest.name == "napari-update-hook"
    assert (files("napari_update_hook") / "napari.yaml").is_file()


def test_nothing_of_ours_runs_when_napari_reads_it() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from npe2 import PluginManager; PluginManager.instance().discover(); "
        "print(*[name for name in sys.modules if name.startswith('napari_update_hook.')])"
    )
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []
