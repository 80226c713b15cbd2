"""Which tool made this environment, and the command by which it updates a package. Pure: paths, markers and versions in.

pip, uv, pipx, conda, pixi and the bundled napari each keep a record of their own; an update by another tool works today and
breaks the environment later.
"""

from __future__ import annotations

import shlex
import subprocess
from enum import Enum
from pathlib import PurePath

from msgspec import Struct

from napari_telemetry.environment import Distribution


class Tool(str, Enum):
    """What manages an environment."""

    PIP = "pip"
    UV = "uv"
    UV_PROJECT = "uv project"
    UV_TOOL = "uv tool"
    PIPX = "pipx"
    CONDA = "conda"
    PIXI = "pixi"
    PIXI_GLOBAL = "pixi global"
    BUNDLE = "bundled napari"
    SYSTEM = "operating system"


class Place(Struct, frozen=True):
    """An environment as its marks show it. Paths are pure, so that one of Windows can be judged anywhere.

    ``prefix``: ``sys.prefix``; ``executable``: its Python. ``marks``: which of `MARKS` exist, and ``"managed"`` where the
    standard library says that others manage it (PEP 668). ``pixi_manifest``: the project that pixi made it for.
    """

    prefix: PurePath
    executable: PurePath
    is_windows: bool
    is_virtual: bool
    marks: frozenset[str] = frozenset()
    pixi_manifest: PurePath | None = None


MARKS = {
    "bundle": "../../.napari_is_bundled_constructor",  # napari's own installer (constructor)
    "uv-tool": "uv-receipt.toml",
    "pipx": "pipx_metadata.json",
    "conda": "conda-meta",
    "uv-project": "../uv.lock",
}
"""Files and folders by which tools mark their environments, relative to ``sys.prefix``."""
PIXI_MARK = "conda-meta/pixi"
"""A JSON file with ``manifest_path``."""
GLOBAL_MANIFEST = "pixi-global.toml"


class HowToUpdate(Struct, frozen=True):
    """The command that updates one package, or None and why there is none."""

    tool: Tool
    command: str | None
    reason: str | None = None


def tool_of(place: Place, installer: str) -> Tool:
    """Return what manages a package. ``installer``: what installed it, by its ``INSTALLER`` file (PEP 376): pip, uv, conda."""
    if "bundle" in place.marks:
        return Tool.BUNDLE
    if "conda" in place.marks:
        if installer not in ("conda", ""):
            return Tool.UV if installer == "uv" else Tool.PIP
        if place.pixi_manifest is not None:
            return Tool.PIXI_GLOBAL if place.pixi_manifest.name == GLOBAL_MANIFEST else Tool.PIXI
        return Tool.CONDA
    if "uv-tool" in place.marks:
        return Tool.UV_TOOL
    if "pipx" in place.marks:
        return Tool.PIPX
    if installer == "uv":
        return Tool.UV_PROJECT if "uv-project" in place.marks else Tool.UV
    return Tool.SYSTEM if "managed" in place.marks and not place.is_virtual else Tool.PIP


def how_to_update(place: Place, distribution: Distribution, version: str | None, conda_name: str | None = None) -> HowToUpdate:
    """Return how to get ``version`` of an installed package, or the newest that fits where it is None.

    ``conda_name``: where conda-forge calls it otherwise.
    """
    tool = tool_of(place, distribution.installer)
    if distribution.is_local:
        origin = distribution.origin or "a folder or repository"
        kind = "edited in place from" if distribution.is_editable else "installed from"
        return HowToUpdate(tool, None, f"It is {kind} {origin}: update that, for instance with git pull.")
    name, channel_name = distribution.name, conda_name or distribution.name.lower()
    requirement = f"{name}=={version}" if version else name
    newest = [] if version else ["--upgrade"]
    if tool is Tool.BUNDLE:
        if name.lower() == "napari":
            return HowToUpdate(tool, None, "This is the bundled napari: download its new installer from https://napari.org.")
        return HowToUpdate(tool, None, "This is the bundled napari: use Plugins > Install/Uninstall Plugins in napari.")
    if tool is Tool.SYSTEM:
        reason = "This Python belongs to the operating system: use its package manager, or a virtual environment."
        return HowToUpdate(tool, None, reason)
    program = place.prefix.name  # uv tool, pipx and pixi global name an environment after its program
    is_program = name.lower() == program.lower()
    command = {
        Tool.PIP: [str(place.executable), "-m", "pip", "install", *newest, requirement],
        Tool.UV: ["uv", "pip", "install", "--python", str(place.executable), *newest, requirement],
        Tool.UV_PROJECT: ["uv", "add", "--project", str(place.prefix.parent), *newest, requirement],
        Tool.UV_TOOL: ["uv", "tool", "upgrade", program],
        Tool.PIPX: ["pipx", "upgrade", program] if is_program else ["pipx", "inject", "--force", program, requirement],
        Tool.CONDA: [
            *["conda", "install" if version else "update", "-p", str(place.prefix), "-c", "conda-forge"],
            f"{channel_name}={version}" if version else channel_name,
        ],
        Tool.PIXI: _pixi(place, f"{channel_name}=={version}" if version else channel_name),
        Tool.PIXI_GLOBAL: ["pixi", "global", "update", program],
    }[tool]
    return HowToUpdate(tool, subprocess.list2cmdline(command) if place.is_windows else shlex.join(command))


def _pixi(place: Place, requirement: str) -> list[str]:
    """The default environment takes plain requirements; others belong to a feature, usually of the same name."""
    command = ["pixi", "add", "--manifest-path", str(place.pixi_manifest)]
    name = place.prefix.name
    return [*command, requirement] if name == "default" else [*command, "--feature", name, requirement]
