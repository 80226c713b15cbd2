"""Undo with each tool, and failures that are not conflicts."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from napari_update_hook.dry_run import Change, _pip_problem
from napari_update_hook.environment import Distribution, Environment
from napari_update_hook.errors import InstallError
from napari_update_hook.install import restore_point, undo_commands
from napari_update_hook.installers import InstallCommands, InstallEnvironment


def undo_of_update(place: InstallEnvironment, installer: str) -> InstallCommands:
    """Return the commands that undo an update which also installed a new package."""

    def here(**versions: str) -> Environment:
        return Environment("3.11.4", "pypi", {name: Distribution(name, one, (), installer) for name, one in versions.items()})

    changes = [Change("affinder", "0.4.0", "0.5.0"), Change("extra", None, "1.0")]
    point = restore_point(here(affinder="0.4.0", other="1.0"), place, changes, "2026-11-29T12:00:00+00:00")
    assert undo_commands(point, here(affinder="0.4.0", other="2.0"), place) == InstallCommands(), "there is nothing to undo"
    return undo_commands(point, here(affinder="0.5.0", other="2.0", extra="1.0"), place)


def environment_of(prefix: Path | PurePosixPath, *markers: str, pixi: PurePosixPath | None = None) -> InstallEnvironment:
    return InstallEnvironment(prefix, prefix / "bin/python", markers=frozenset({"pip", *markers}), pixi_manifest=pixi)


def test_pip_and_pipx_restore_old_versions_and_remove_new_packages() -> None:
    prefix = PurePosixPath("/p/napari")
    assert [str(one) for one in undo_of_update(environment_of(prefix), "pip").commands] == [
        "/p/napari/bin/python -m pip install --no-deps affinder==0.4.0",
        "/p/napari/bin/python -m pip uninstall -y extra",
    ]
    assert [str(one) for one in undo_of_update(environment_of(prefix, "pipx"), "pip").commands] == [
        "pipx runpip napari install --no-deps affinder==0.4.0",
        "pipx runpip napari uninstall -y extra",
    ]


def test_conda_restores_its_previous_revision(tmp_path: Path) -> None:
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta" / "history").write_text("==> 2026-01-01 <==\n# cmd: create\n==> 2026-02-01 <==\n+x\n")
    (command,) = undo_of_update(environment_of(tmp_path, "conda"), "conda").commands
    assert command.argv == ("conda", "install", "-p", str(tmp_path), "--revision", "1")


def test_a_project_is_restored_with_its_lock_file() -> None:
    pixi = environment_of(PurePosixPath("/lab/.pixi/envs/default"), "conda", pixi=PurePosixPath("/lab/pixi.toml"))
    for place, installer in ((pixi, "conda"), (environment_of(PurePosixPath("/lab/.venv"), "uv-project"), "uv")):
        how = undo_of_update(place, installer)
        assert how.commands == ()
        assert "lock file" in str(how.reason)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("no such option: --dry-run", "too old"),
        ("NewConnectionError('…')\nERROR: No matching distribution found for a", "network"),
    ],
)
def test_errors_other_than_conflicts_are_raised(said: str, told: str) -> None:
    with pytest.raises(InstallError, match=told):
        _pip_problem(said, build=False)


def test_a_release_that_may_need_a_build_is_named() -> None:
    told = _pip_problem("ERROR: No matching distribution found for built==2.0", build=False)
    assert "If there is no wheel for built==2.0, pass --build to build from source" in told
    assert "--build" not in _pip_problem("ERROR: No matching distribution found for built==2.0", build=True)
