"""The tool that manages this environment, and its commands. Pure functions, except `detect_install`."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path, PurePath
from shutil import which

from napari_update_hook.environment import Distribution


class Tool(str, Enum):
    PIP = "pip"
    UV = "uv"
    UV_PROJECT = "uv project"
    UV_TOOL = "uv tool"
    PIPX = "pipx"
    CONDA = "conda"
    PIXI = "pixi"
    PIXI_PYPI = "pixi, from PyPI"
    PIXI_GLOBAL = "pixi global"
    OTHER = "another tool"
    BUNDLE = "bundled napari"
    SYSTEM = "operating system"
    NONE = "no tool"


@dataclass(frozen=True)
class InstallEnvironment:
    """How an environment was installed. The paths are pure, so that tests can describe Windows on any platform.

    ``markers``: keys of `MARKERS` whose file exists, plus ``managed`` (PEP 668), ``pip`` and ``uv`` (on PATH).
    ``conda``: the program to run, which may be mamba or micromamba.
    """

    prefix: PurePath
    executable: PurePath
    is_windows: bool = False
    is_virtual: bool = True
    markers: frozenset[str] = frozenset({"pip"})
    pixi_manifest: PurePath | None = None
    conda: str = "conda"


MARKERS = {
    "bundle": "../../.napari_is_bundled_constructor",  # napari's bundle
    "uv-tool": "uv-receipt.toml",
    "pipx": "pipx_metadata.json",
    "conda": "conda-meta",
    "uv-project": "../uv.lock",
}
"""Marker files, relative to ``sys.prefix``."""

PROJECTS = (Tool.PIXI, Tool.PIXI_PYPI, Tool.UV_PROJECT)

_REASONS_WITHOUT_COMMAND = {
    Tool.BUNDLE: "This is the bundled napari. Update plugins in Plugins > Install/Uninstall Plugins; for a new napari "
    "version, download the installer from https://napari.org.",
    Tool.SYSTEM: "This Python belongs to the operating system. Use its package manager, or a virtual environment.",
    Tool.UV_TOOL: "uv manages this environment and can only update it as a whole: uv tool upgrade {program}",
    Tool.PIXI_GLOBAL: "pixi manages this environment and can only update it as a whole: pixi global update {program}",
    Tool.NONE: "This environment has neither pip nor uv. Install pip first: python -m ensurepip",
}


@dataclass(frozen=True)
class Command:
    tool: Tool
    argv: tuple[str, ...]  # without a shell
    is_windows: bool = False

    def texts(self) -> dict[str, str]:
        """Return the command as text to copy, by shell name (an empty name: any shell)."""
        if not self.is_windows:
            return {"": shlex.join(self.argv)}
        if all(re.fullmatch(r"[\w.:\\/=+!-]+", part) for part in self.argv):
            return {"": " ".join(self.argv)}
        # cmd needs double quotes around & and spaces; PowerShell runs a quoted program only after &
        cmd = " ".join(part if re.fullmatch(r"[\w.:\\/=+!-]+", part) else f'"{part}"' for part in self.argv)
        shell = " ".join("'" + part.replace("'", "''") + "'" for part in self.argv)
        return {"cmd": cmd, "PowerShell": f"& {shell}"}

    def __str__(self) -> str:
        return "\n".join(f"{shell}: {text}" if shell else text for shell, text in self.texts().items())


@dataclass(frozen=True)
class InstallCommands:
    """The commands to run, in order. ``reason``: why there are none."""

    commands: tuple[Command, ...] = ()
    reason: str | None = None


def tool_of(place: InstallEnvironment, installer: str) -> Tool:
    """Return the tool that manages a package. ``installer``: content of the package's INSTALLER file (PEP 376)."""
    if "bundle" in place.markers:
        return Tool.BUNDLE
    if "conda" in place.markers and installer in ("conda", ""):
        if place.pixi_manifest is not None:
            return Tool.PIXI_GLOBAL if place.pixi_manifest.name == "pixi-global.toml" else Tool.PIXI
        return Tool.CONDA
    if place.pixi_manifest is not None:
        return Tool.PIXI_PYPI
    if "uv-tool" in place.markers:
        return Tool.UV_TOOL
    if "pipx" in place.markers:
        return Tool.PIPX
    if installer == "uv":
        return Tool.UV_PROJECT if "uv-project" in place.markers else Tool.UV
    if "managed" in place.markers and not place.is_virtual:
        return Tool.SYSTEM
    if installer in ("pip", "") or "conda" in place.markers:
        return Tool.PIP if "pip" in place.markers else Tool.UV if "uv" in place.markers else Tool.NONE
    return Tool.OTHER


def how_to_install(
    place: InstallEnvironment,
    distributions: Mapping[str, Distribution],
    pins: Mapping[str, str],
    updates: Sequence[str],
    conda_names: Mapping[str, str],
) -> InstallCommands:
    """Return the commands for ``updates`` (normalized names).

    ``pins``: versions by normalized name that the commands name, because a resolver may change unnamed packages.
    ``conda_names``: names on conda-forge, where they differ.
    """
    by_tool: dict[Tool, list[str]] = {}
    for name in updates:
        by_tool.setdefault(tool_of(place, distributions[name].installer), []).append(name)
    commands = []
    for tool in sorted(by_tool, key=lambda one: one not in (Tool.CONDA, Tool.PIXI)):  # conda first
        if (reason := _REASONS_WITHOUT_COMMAND.get(tool)) is not None:
            return InstallCommands(reason=reason.format(program=place.prefix.name))
        if tool is Tool.OTHER:
            installer = distributions[by_tool[tool][0]].installer
            wanted = " ".join(f"{distributions[name].name}=={pins[name]}" for name in by_tool[tool])
            return InstallCommands(
                reason=f"This environment is managed by {installer}. Run in its project: {installer} add {wanted}"
            )
        own = {name: version for name, version in pins.items() if tool_of(place, distributions[name].installer) is tool}
        if tool in PROJECTS:  # these tools write the requirements to the project file
            own = {name: own[name] for name in by_tool[tool]}
        is_conda = tool in (Tool.CONDA, Tool.PIXI)
        names = {name: conda_names.get(name, name) if is_conda else distributions[name].name for name in own}
        separator = "=" if tool is Tool.CONDA else "=="
        requirements = [f"{names[name]}{separator}{version}" for name, version in sorted(own.items())]
        commands.append(Command(tool, tuple(_argv(tool, place, requirements)), place.is_windows))
    return InstallCommands(tuple(commands))


def add_command(place: InstallEnvironment, installer: str, name: str, version: str) -> InstallCommands:
    """Return the command that installs exactly this version. ``installer``: the installer of a related package."""
    tool = tool_of(place, installer)
    if (reason := _REASONS_WITHOUT_COMMAND.get(tool)) is not None:
        return InstallCommands(reason=reason.format(program=place.prefix.name))
    requirement = f"{name}=={version}"  # also for conda, where = would also match 0.1.0.1
    if tool is Tool.OTHER:
        return InstallCommands(
            reason=f"This environment is managed by {installer}. Run in its project: {installer} add {requirement}"
        )
    return InstallCommands((Command(tool, tuple(_argv(tool, place, [requirement])), place.is_windows),))


def remove_command(place: InstallEnvironment, installer: str, name: str) -> InstallCommands:
    tool, python = tool_of(place, installer), str(place.executable)
    argv = {
        Tool.PIP: [python, "-m", "pip", "uninstall", "-y", name],
        Tool.UV: ["uv", "pip", "uninstall", "--python", python, name],
        Tool.PIPX: ["pipx", "runpip", place.prefix.name, "uninstall", "-y", name],
        Tool.CONDA: [place.conda, "remove", "-p", str(place.prefix), "--yes", name],
    }.get(tool)
    if argv is None:
        return InstallCommands(reason=f"Remove {name} with the tool that manages this environment ({tool.value}).")
    return InstallCommands((Command(tool, tuple(argv), place.is_windows),))


def _argv(tool: Tool, place: InstallEnvironment, requirements: list[str]) -> list[str]:
    python, program = str(place.executable), place.prefix.name  # pipx names the folder after the program
    if tool in (Tool.PIXI, Tool.PIXI_PYPI):  # assume that a non-default environment has a feature of the same name
        options = [*(["--pypi"] if tool is Tool.PIXI_PYPI else []), *(["--feature", program] if program != "default" else [])]
        return ["pixi", "add", "--manifest-path", str(place.pixi_manifest), *options, *requirements]
    return {
        Tool.PIP: [python, "-m", "pip", "install", *requirements],
        Tool.UV: ["uv", "pip", "install", "--python", python, *requirements],
        Tool.UV_PROJECT: ["uv", "add", "--project", str(place.prefix.parent), *requirements],
        Tool.PIPX: ["pipx", "runpip", program, "install", *requirements],
        Tool.CONDA: [place.conda, "install", "-p", str(place.prefix), "-c", "conda-forge", *requirements],
    }[tool]


def detect_install() -> InstallEnvironment:
    prefix = Path(sys.prefix)
    markers = {name for name, path in MARKERS.items() if (prefix / path).exists()}
    if (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").exists():
        markers.add("managed")
    if find_spec("pip") is not None:
        markers.add("pip")
    if which("uv") is not None:
        markers.add("uv")
    return InstallEnvironment(
        prefix=prefix,
        executable=Path(sys.executable),
        is_windows=sys.platform == "win32",
        is_virtual=sys.prefix != sys.base_prefix,
        markers=frozenset(markers),
        pixi_manifest=_pixi_manifest(prefix / "conda-meta" / "pixi"),
        conda=_conda_program(),
    )


def _conda_program() -> str:
    named = (os.environ.get("CONDA_EXE"), which("conda"), which("mamba"), os.environ.get("MAMBA_EXE"), which("micromamba"))
    return next((one for one in named if one and Path(one).is_file()), "conda")


def _pixi_manifest(record: Path) -> Path | None:
    try:
        return Path(json.loads(record.read_text("utf-8"))["manifest_path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
