"""Which command updates a package, by tool and system: a table of environments."""

from __future__ import annotations

from pathlib import PurePath, PurePosixPath, PureWindowsPath

import pytest
from napari_telemetry.environment import Distribution
from napari_telemetry.installers import Place, Tool, how_to_update, tool_of


def posix(prefix: str, *marks: str, virtual: bool = True, pixi: str | None = None) -> Place:
    path = PurePosixPath(prefix)
    return Place(path, path / "bin/python", False, virtual, frozenset(marks), PurePosixPath(pixi) if pixi else None)


def windows(prefix: str, *marks: str, virtual: bool = True, pixi: str | None = None) -> Place:
    path = PureWindowsPath(prefix)
    python: PurePath = path / "python.exe" if "conda" in marks else path / "Scripts" / "python.exe"
    return Place(path, python, True, virtual, frozenset(marks), PureWindowsPath(pixi) if pixi else None)


@pytest.mark.parametrize(
    ("place", "installer", "tool", "command"),
    [
        (posix("/home/me/venv"), "pip", Tool.PIP, "/home/me/venv/bin/python -m pip install affinder==0.6.0"),
        (
            posix("/Users/me/my envs/napari"),
            "pip",
            Tool.PIP,
            "'/Users/me/my envs/napari/bin/python' -m pip install affinder==0.6.0",
        ),
        (windows(r"C:\Users\Me\venv"), "pip", Tool.PIP, r"C:\Users\Me\venv\Scripts\python.exe -m pip install affinder==0.6.0"),
        (
            windows(r"C:\Users\My Name\venv"),
            "pip",
            Tool.PIP,
            r'"C:\Users\My Name\venv\Scripts\python.exe" -m pip install affinder==0.6.0',
        ),
        (posix("/v"), "uv", Tool.UV, "uv pip install --python /v/bin/python affinder==0.6.0"),
        (posix("/projects/lab/.venv", "uv-project"), "uv", Tool.UV_PROJECT, "uv add --project /projects/lab affinder==0.6.0"),
        (
            posix("/projects/lab/.venv", "uv-project"),
            "pip",
            Tool.PIP,
            "/projects/lab/.venv/bin/python -m pip install affinder==0.6.0",
        ),
        (posix("/home/me/.local/share/uv/tools/napari", "uv-tool"), "uv", Tool.UV_TOOL, "uv tool upgrade napari"),
        (posix("/home/me/.local/pipx/venvs/napari", "pipx"), "pip", Tool.PIPX, "pipx inject --force napari affinder==0.6.0"),
        (
            posix("/opt/conda/envs/napari", "conda"),
            "conda",
            Tool.CONDA,
            "conda install -p /opt/conda/envs/napari -c conda-forge affinder=0.6.0",
        ),
        (
            windows(r"C:\conda\envs\napari", "conda"),
            "conda",
            Tool.CONDA,
            r"conda install -p C:\conda\envs\napari -c conda-forge affinder=0.6.0",
        ),
        (
            posix("/opt/conda/envs/napari", "conda", virtual=False),
            "pip",
            Tool.PIP,
            "/opt/conda/envs/napari/bin/python -m pip install affinder==0.6.0",
        ),
        (
            posix("/opt/conda/envs/napari", "conda"),
            "uv",
            Tool.UV,
            "uv pip install --python /opt/conda/envs/napari/bin/python affinder==0.6.0",
        ),
        (
            posix("/projects/lab/.pixi/envs/default", "conda", pixi="/projects/lab/pixi.toml"),
            "conda",
            Tool.PIXI,
            "pixi add --manifest-path /projects/lab/pixi.toml affinder==0.6.0",
        ),
        (
            posix("/projects/lab/.pixi/envs/gpu", "conda", pixi="/projects/lab/pixi.toml"),
            "conda",
            Tool.PIXI,
            "pixi add --manifest-path /projects/lab/pixi.toml --feature gpu affinder==0.6.0",
        ),
        (
            posix("/home/me/.pixi/envs/napari", "conda", pixi="/home/me/.pixi/manifests/pixi-global.toml"),
            "conda",
            Tool.PIXI_GLOBAL,
            "pixi global update napari",
        ),
        (posix("/usr", virtual=False), "pip", Tool.PIP, "/usr/bin/python -m pip install affinder==0.6.0"),
    ],
)
def test_the_tool_that_made_an_environment_updates_it(place: Place, installer: str, tool: Tool, command: str) -> None:
    how = how_to_update(place, Distribution("affinder", "0.4.0", installer=installer), "0.6.0")
    assert (how.tool, how.command, how.reason) == (tool, command, None)


def test_conda_may_call_a_package_otherwise() -> None:
    place = posix("/opt/conda/envs/napari", "conda")
    how = how_to_update(place, Distribution("micro-sam", "1.0", installer="conda"), "1.5", "micro_sam")
    assert str(how.command).endswith("micro_sam=1.5")


def test_the_program_of_pipx_is_upgraded_itself() -> None:
    how = how_to_update(posix("/p/napari", "pipx"), Distribution("napari", "0.6.0", installer="pip"), "0.6.1")
    assert how.command == "pipx upgrade napari"


@pytest.mark.parametrize(
    ("place", "distribution", "reason"),
    [
        (
            posix("/v"),
            Distribution("a", "1", True, origin="file:///src/a", is_editable=True),
            "edited in place from file:///src/a",
        ),
        (posix("/v"), Distribution("a", "1", True), "installed from a folder or repository"),
        (posix("/opt/napari/envs/napari-0.6.1", "bundle", "conda"), Distribution("a", "1", installer="conda"), "Plugins >"),
        (posix("/opt/napari/envs/napari-0.6.1", "bundle", "conda"), Distribution("napari", "0.6.1"), "https://napari.org"),
        (posix("/usr", "managed", virtual=False), Distribution("a", "1", installer="pip"), "operating system"),
    ],
)
def test_where_no_command_helps_it_says_why(place: Place, distribution: Distribution, reason: str) -> None:
    how = how_to_update(place, distribution, "2")
    assert how.command is None
    assert reason in str(how.reason)


def test_a_virtual_environment_of_a_managed_python_is_ones_own() -> None:
    assert tool_of(posix("/home/me/venv", "managed", virtual=True), "pip") is Tool.PIP
