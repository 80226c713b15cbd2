"""Install commands for each tool and operating system."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from napari_update_hook.environment import Distribution
from napari_update_hook.installers import InstallCommands, InstallEnvironment, Tool, how_to_install, tool_of


def posix(prefix: str, *markers: str, virtual: bool = True, pixi: str | None = None) -> InstallEnvironment:
    path, found = PurePosixPath(prefix), frozenset({"pip", *markers} - {"no-pip"} if "no-pip" not in markers else {*markers})
    return InstallEnvironment(path, path / "bin/python", False, virtual, found, PurePosixPath(pixi) if pixi else None)


def windows(prefix: str) -> InstallEnvironment:
    path = PureWindowsPath(prefix)
    return InstallEnvironment(path, path / "Scripts" / "python.exe", is_windows=True)


def how(place: InstallEnvironment, installer: str) -> InstallCommands:
    found = {name: Distribution(name, "1", (), installer) for name in ("affinder", "napari")}
    return how_to_install(place, found, {"affinder": "0.6.0", "napari": "0.6.1"}, ["affinder"], {})


@pytest.mark.parametrize(
    ("place", "installer", "tool", "command"),
    [
        (posix("/v"), "pip", Tool.PIP, "/v/bin/python -m pip install affinder==0.6.0 napari==0.6.1"),
        (posix("/my envs"), "pip", Tool.PIP, "'/my envs/bin/python' -m pip install affinder==0.6.0 napari==0.6.1"),
        (posix("/usr", virtual=False), "pip", Tool.PIP, "/usr/bin/python -m pip install affinder==0.6.0 napari==0.6.1"),
        (
            windows(r"C:\Users\Me\venv"), "pip", Tool.PIP,
            r"C:\Users\Me\venv\Scripts\python.exe -m pip install affinder==0.6.0 napari==0.6.1",
        ),
        (posix("/v"), "uv", Tool.UV, "uv pip install --python /v/bin/python affinder==0.6.0 napari==0.6.1"),
        (
            posix("/v", "no-pip", "uv"), "pip", Tool.UV,
            "uv pip install --python /v/bin/python affinder==0.6.0 napari==0.6.1",
        ),
        (posix("/lab/.venv", "uv-project"), "uv", Tool.UV_PROJECT, "uv add --project /lab affinder==0.6.0"),
        (
            posix("/pipx/venvs/napari", "pipx"), "pip", Tool.PIPX,
            "pipx runpip napari install affinder==0.6.0 napari==0.6.1",
        ),
        (
            posix("/conda/envs/n", "conda"), "conda", Tool.CONDA,
            "conda install -p /conda/envs/n -c conda-forge affinder=0.6.0 napari=0.6.1",
        ),
        (
            posix("/conda/envs/n", "conda"), "pip", Tool.PIP,
            "/conda/envs/n/bin/python -m pip install affinder==0.6.0 napari==0.6.1",
        ),
        (
            posix("/lab/.pixi/envs/default", "conda", pixi="/lab/pixi.toml"), "conda", Tool.PIXI,
            "pixi add --manifest-path /lab/pixi.toml affinder==0.6.0",
        ),
        (
            posix("/lab/.pixi/envs/gpu", "conda", pixi="/lab/pixi.toml"), "conda", Tool.PIXI,
            "pixi add --manifest-path /lab/pixi.toml --feature gpu affinder==0.6.0",
        ),
        (
            posix("/lab/.pixi/envs/default", "conda", pixi="/lab/pixi.toml"), "uv-pixi", Tool.PIXI_PYPI,
            "pixi add --manifest-path /lab/pixi.toml --pypi affinder==0.6.0",
        ),
    ],
)  # fmt: skip
def test_an_environment_is_updated_by_the_tool_that_created_it(
    place: InstallEnvironment, installer: str, tool: Tool, command: str
) -> None:
    (only,) = how(place, installer).commands
    assert (only.tool, str(only)) == (tool, command)


def test_each_package_is_updated_by_its_own_tool() -> None:
    found = {"micro-sam": Distribution("micro-sam", "1", (), "conda"), "b": Distribution("b", "1", (), "pip")}
    found |= {"kept": Distribution("kept", "3", (), "conda")}
    pins = {"micro-sam": "2", "b": "2", "kept": "3"}
    commands = how_to_install(posix("/c", "conda"), found, pins, ["b", "micro-sam"], {"micro-sam": "micro_sam"}).commands
    assert [str(one) for one in commands] == [
        "conda install -p /c -c conda-forge kept=3 micro_sam=2",
        "/c/bin/python -m pip install b==2",
    ]


@pytest.mark.parametrize("folder", [r"C:\Users\My Name\venv", r"C:\R&D\venv", r"C:\O'Hara & Co\venv"])
def test_a_path_with_special_characters_gets_a_command_per_shell(folder: str) -> None:
    (only,) = how(windows(folder), "pip").commands
    texts = only.texts()
    assert texts["cmd"] == rf'"{folder}\Scripts\python.exe" -m pip install affinder==0.6.0 napari==0.6.1'
    doubled = folder.replace("'", "''")
    assert texts["PowerShell"].startswith(rf"& '{doubled}\Scripts\python.exe' '-m' 'pip'")
    assert str(only).splitlines()[0].startswith("cmd: ")


@pytest.mark.parametrize(
    ("place", "installer", "reason"),
    [
        (posix("/opt/napari/envs/napari-0.6.1", "bundle", "conda"), "conda", "https://napari.org"),
        (posix("/usr", "managed", virtual=False), "pip", "operating system"),
        (posix("/v", "no-pip"), "pip", "python -m ensurepip"),
        (posix("/v"), "pdm", "pdm add affinder==0.6.0"),
        (posix("/uv/tools/napari", "uv-tool"), "uv", "uv tool upgrade napari"),
        (posix("/p/envs/napari", "conda", pixi="/p/pixi-global.toml"), "conda", "pixi global update napari"),
        (posix("/v"), "poetry 1.8.2", "managed by poetry 1.8.2"),
    ],
)
def test_the_reason_is_given_if_there_is_no_command(place: InstallEnvironment, installer: str, reason: str) -> None:
    found = how(place, installer)
    assert found.commands == ()
    assert reason in str(found.reason)


def test_a_virtual_environment_of_a_managed_python_is_updated_with_pip() -> None:
    assert tool_of(posix("/home/me/venv", "managed", virtual=True), "pip") is Tool.PIP
