"""This environment: where the pure parts meet the machine they run on."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import msgspec
from msgspec import Struct

from napari_telemetry.installers import MARKS, PIXI_MARK, Place
from napari_telemetry.settings import ClientSettings
from napari_telemetry.state import ClientStore, environment_name


def store_here(settings: ClientSettings) -> ClientStore:
    """Return the state of the Python environment that runs."""
    return ClientStore(settings.state, environment_name(Path(sys.prefix)))


def place_here() -> Place:
    """Return the marks of the environment that runs."""
    prefix = Path(sys.prefix)
    marks = {name for name, path in MARKS.items() if (prefix / path).exists()}
    if (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").exists():
        marks.add("managed")
    return Place(
        prefix=prefix,
        executable=Path(sys.executable),
        is_windows=sys.platform == "win32",
        is_virtual=sys.prefix != sys.base_prefix,
        marks=frozenset(marks),
        pixi_manifest=_pixi_manifest(prefix / PIXI_MARK),
    )


class _PixiMark(Struct):
    manifest_path: str


def _pixi_manifest(mark: Path) -> Path | None:
    try:
        return Path(msgspec.json.decode(mark.read_bytes(), type=_PixiMark).manifest_path)
    except (OSError, msgspec.MsgspecError):
        return None
