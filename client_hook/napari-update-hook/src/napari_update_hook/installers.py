"""Which tool made this environment, and the command by which it installs a set of versions. Pure, but for `detect_install`.

pip, uv, pipx, conda, pixi and the bundled napari each keep a record of their own; an update by another tool works today and
breaks the environment later.
"""

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
    """What manages an environment."""

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
    """How an environment was made. Paths are pure, so that one of Windows can be judged anywhere.

    ``prefix``: ``sys.prefix``; ``executable``: its Python. ``markers``: which of `MARKERS` exist, ``"managed"`` where the
    standard library says that others manage it (PEP 668), ``"pip"`` where pip is installed, ``"uv"`` where uv is on the path.
    ``pixi_manifest``: the project that pixi made it for. ``conda``: conda, mamba or micromamba, whichever is there.
    """

    prefix: PurePath
    executable: PurePath
    is_windows: bool = False
    is_virtual: bool = True
    markers: frozenset[str] = frozenset({"pip"})
    pixi_manifest: PurePath | None = None
    conda: str = "conda"


MARKERS = {
    "bundle": "../../.napari_is_bundled_constructor",  # napari's own installer (constructor)
    "uv-tool": "uv-receipt.toml",
    "pipx": "pipx_metadata.json",
    "conda": "conda-meta",
    "uv-project": "../uv.lock",
}
"""Files and folders by which tools mark their environments, relative to ``sys.prefix``."""

PROJECTS = (Tool.PIXI, Tool.PIXI_PYPI, Tool.UV_PROJECT)
"""Tools that keep a project file and a lock, which say what is installed."""

_REASONS = {
    Tool.BUNDLE: "This is the bundled napari. Update plugins in Plugins > Install/Uninstall Plugins; for a new napari, "
    "download its installer from https://napari.org.",
    Tool.SYSTEM: "This Python belongs to the operating system. Use its package manager, or a virtual environment.",
    Tool.UV_TOOL: "This environment belongs to uv, which updates all of it at once: uv tool upgrade {program}",
    Tool.PIXI_GLOBAL: "This environment belongs to pixi, which updates all of it at once: pixi global update {program}",
    Tool.NONE: "There is neither pip nor uv here. Install pip first: python -m ensurepip",
}


@dataclass(frozen=True)
class Command:
    """A command of the environment's own tool. ``argv``: as it is run, without a shell."""

    tool: Tool
    argv: tuple[str, ...]
    is_windows: bool = False

    def texts(self) -> dict[str, str]:
        """Return the command to copy, by shell; one with an empty name works in every shell of the system."""
        if not self.is_windows:
            return {"": shlex.join(self.argv)}
        if all(re.fullmatch(r"[\w.:\\/=+!-]+", part) for part in self.argv):
            return {"": " ".join(self.argv)}
        # cmd takes & and spaces between double quotes; PowerShell runs a quoted program only after &
        cmd = " ".join(part if re.fullmatch(r"[\w.:\\/=+!-]+", part) else f'"{part}"' for part in self.argv)
        shell = " ".join("'" + part.replace("'", "''") + "'" for part in self.argv)
        return {"cmd": cmd, "PowerShell": f"& {shell}"}

    def __str__(self) -> str:
        return "\n".join(f"{shell}: {text}" if shell else text for shell, text in self.texts().items())


@dataclass(frozen=True)
class HowTo:
    """The commands that install a set, in this order; empty, with a ``reason``, where there are none."""

    commands: tuple[Command, ...] = ()
    reason: str | None = None


def tool_of(place: InstallEnvironment, installer: str) -> Tool:
    """Return what manages a package. ``installer``: what its INSTALLER file (PEP 376) says: pip, uv, conda."""
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
) -> HowTo:
    """Return the commands that bring ``updates`` (normalized names) to their versions in ``pins``.

    ``pins``: versions of all packages that a resolver must keep, by normalized name; each command names those of its own tool,
    because a resolver may break what is not named. ``conda_names``: where conda-forge has another name.
    """
    by_tool: dict[Tool, list[str]] = {}
    for name in updates:
        by_tool.setdefault(tool_of(place, distributions[name].installer), []).append(name)
    commands = []
    for tool in sorted(by_tool, key=lambda one: one not in (Tool.CONDA, Tool.PIXI)):  # conda goes first
        if (reason := _REASONS.get(tool)) is not None:
            return HowTo(reason=reason.format(program=place.prefix.name))
        if tool is Tool.OTHER:
            installer = distributions[by_tool[tool][0]].installer
            wanted = " ".join(f"{distributions[name].name}=={pins[name]}" for name in by_tool[tool])
            return HowTo(reason=f"This environment is managed by {installer}. Run in its project: {installer} add {wanted}")
        own = {name: version for name, version in pins.items() if tool_of(place, distributions[name].installer) is tool}
        if tool in PROJECTS:  # these write what they are told into the project
            own = {name: own[name] for name in by_tool[tool]}
        is_conda = tool in (Tool.CONDA, Tool.PIXI)
        names = {name: conda_names.get(name, name) if is_conda else distributions[name].name for name in own}
        separator = "=" if tool is Tool.CONDA else "=="
        requirements = [f"{names[name]}{separator}{version}" for name, version in sorted(own.items())]
        commands.append(Command(tool, tuple(_argv(tool, place, requirements)), place.is_windows))
    return HowTo(tuple(commands))


def how_to_add(place: InstallEnvironment, installer: str, name: str, version: str) -> HowTo:
    """Return the command that adds a package in exactly one version. ``installer``: of the package that it belongs with."""
    tool = tool_of(place, installer)
    if (reason := _REASONS.get(tool)) is not None:
        return HowTo(reason=reason.format(program=place.prefix.name))
    requirement = f"{name}=={version}"  # for conda, too: its = would also take 0.1.0.1
    if tool is Tool.OTHER:
        return HowTo(reason=f"This environment is managed by {installer}. Run in its project: {installer} add {requirement}")
    return HowTo((Command(tool, tuple(_argv(tool, place, [requirement])), place.is_windows),))


def how_to_remove(place: InstallEnvironment, installer: str, name: str) -> HowTo:
    """Return the command that removes a package."""
    tool, python = tool_of(place, installer), str(place.executable)
    argv = {
        Tool.PIP: [python, "-m", "pip", "uninstall", "-y", name],
        Tool.UV: ["uv", "pip", "uninstall", "--python", python, name],
        Tool.PIPX: ["pipx", "runpip", place.prefix.name, "uninstall", "-y", name],
        Tool.CONDA: [place.conda, "remove", "-p", str(place.prefix), "--yes", name],
    }.get(tool)
    if argv is None:
        return HowTo(reason=f"Remove {name} with the tool that manages this environment ({tool.value}).")
    return HowTo((Command(tool, tuple(argv), place.is_windows),))


def _argv(tool: Tool, place: InstallEnvironment, requirements: list[str]) -> list[str]:
    python, program = str(place.executable), place.prefix.name  # pipx names it after its program
    if tool in (Tool.PIXI, Tool.PIXI_PYPI):  # the default environment takes plain requirements, others a feature of that name
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
    """Return how the environment that runs was made."""
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
